package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/settle"
)

// watch looks, while the other producers have their turn, whether a committed transaction's markers have arrived where its
// records and offsets are, and sees to it where they have not (settle.Ledger.Watch).
type watch struct {
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelFunc
}

// beginWatch starts one.
func (p *TxnProducer) beginWatch(sent settle.Sent) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{done: make(chan struct{}), cancel: cancel}
	p.watch = w
	go func() {
		defer close(w.done)
		defer cancel()
		w.err = p.ledger.Watch(ctx, sent)
	}()
}

// endWatch waits for what it has found, as long as a request may take.
func (p *TxnProducer) endWatch() error {
	if p.watch == nil {
		return nil
	}
	select {
	case <-p.watch.done:
	default:
		ctx, cancel := context.WithTimeout(context.Background(), p.cfg.RequestTimeout)
		defer cancel()
		select {
		case <-p.watch.done:
		case <-ctx.Done():
			p.watch.cancel()
			<-p.watch.done
		}
	}
	err := p.watch.err
	p.watch = nil
	return err
}

// dropWatch ends it without an answer.
func (p *TxnProducer) dropWatch() {
	if p.watch != nil {
		p.watch.cancel()
		_ = p.endWatch()
	}
}

// sent is what the transaction consisted of, once it has ended.
func (t *txn) sent() settle.Sent {
	t.leave()
	return settle.Sent{Last: t.last, Group: t.group, Offsets: t.committed}
}

// Passed implements settle.Brokers: one request to each leader, and one to the group's coordinator.
func (s settling) Passed(ctx context.Context, sent settle.Sent) (bool, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if passed, err := s.stableBeyond(ctx, sent.Last); err != nil || !passed || sent.Group == "" {
		return passed, err
	}
	return s.stableOffsets(ctx, sent.Group, sent.Offsets)
}

// stableBeyond reports whether every last stable offset is above the given one.
func (s settling) stableBeyond(ctx context.Context, last Offsets) (bool, error) {
	if len(last) == 0 {
		return true, nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, readCommitted
	for topic, partitions := range last {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for partition := range partitions {
			q := kmsg.NewListOffsetsRequestTopicPartition()
			q.Partition, q.Timestamp, q.CurrentLeaderEpoch = partition, latest, -1
			t.Partitions = append(t.Partitions, q)
		}
		req.Topics = append(req.Topics, t)
	}
	passed := true
	err := retry(ctx, leaderless, func() error {
		resp, err := ask(ctx, s.cl, req)
		if err != nil {
			return err
		}
		passed = true
		for _, t := range resp.Topics {
			for _, q := range t.Partitions {
				if err := kerr.ErrorForCode(q.ErrorCode); err != nil {
					return fmt.Errorf("asking for the last stable offset of %s/%d: %w", t.Topic, q.Partition, err)
				}
				passed = passed && q.Offset > last[t.Topic][q.Partition]
			}
		}
		return nil
	})
	return passed, err
}

// stableOffsets reports whether no transaction holds the group's offsets of these partitions (KIP-447). It needs no right that
// committing them does not need.
func (s settling) stableOffsets(ctx context.Context, group string, at settle.Partitions) (bool, error) {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, true
	for topic, partitions := range at {
		now, before3 := kmsg.NewOffsetFetchRequestGroupTopic(), kmsg.NewOffsetFetchRequestTopic()
		now.Topic, before3.Topic = topic, topic
		for partition := range partitions {
			now.Partitions = append(now.Partitions, partition)
		}
		before3.Partitions = now.Partitions
		g.Topics, req.Topics = append(g.Topics, now), append(req.Topics, before3)
	}
	req.Groups = append(req.Groups, g)
	err := retry(ctx, anyOf(kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator), func() error {
		_, err := offsetFetch(ctx, s.cl, req)
		return err
	})
	switch {
	case errors.Is(err, kerr.UnstableOffsetCommit):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("asking whether the offsets of group %s are stable: %w", group, err)
	}
	return true, nil
}

// offsetsTopic is where groups' offsets are.
const offsetsTopic = "__consumer_offsets"

// offsetsPartition returns the partition of a group's offsets; false where there is none, or nobody tells.
func (s settling) offsetsPartition(ctx context.Context, group string) (int32, bool, error) {
	if s.offsetsPartitions == 0 {
		found, err := s.Existing(ctx, []string{offsetsTopic})
		if err != nil || len(found[offsetsTopic]) == 0 {
			return 0, false, err
		}
		s.offsetsPartitions = int32(len(found[offsetsTopic]))
	}
	return groupPartition(group, s.offsetsPartitions), true, nil
}

// groupPartition is which of so many partitions a group's offsets are in: that of the absolute value of Java's String.hashCode, as
// brokers choose it (GroupCoordinatorService.partitionFor).
func groupPartition(group string, partitions int32) int32 {
	hash := int32(0)
	for _, unit := range utf16.Encode([]rune(group)) {
		hash = 31*hash + int32(unit)
	}
	switch {
	case hash == math.MinInt32:
		return 0
	case hash < 0:
		hash = -hash
	}
	return hash % partitions
}
