package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errUndecided says that a partition holds a committed transaction's records for undecided. Init ends it.
var errUndecided = errors.New("the last transaction's marker is missing")

// check looks, while the other producers have their turn, whether a committed transaction's markers have arrived where its
// records are. The id's next transaction must not begin before: were it aborted, it would take them with it.
type check struct {
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelFunc
}

// beginCheck starts to look for the markers of a transaction whose last records these are.
func (p *TxnProducer) beginCheck(who Producer, last Offsets) {
	if len(last) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.RequestTimeout)
	c := &check{done: make(chan struct{}), cancel: cancel}
	p.check = c
	go func() {
		defer close(c.done)
		defer cancel()
		c.err = awaitMarkers(ctx, p.cl, who, last)
	}()
}

// endCheck waits for what beginCheck has found.
func (p *TxnProducer) endCheck() error {
	if p.check == nil {
		return nil
	}
	<-p.check.done
	err := p.check.err
	p.check = nil
	return err
}

// dropCheck ends it without an answer.
func (p *TxnProducer) dropCheck() {
	if p.check != nil {
		p.check.cancel()
		_ = p.endCheck()
	}
}

// The first pause is about what markers take. From some attempts on it may be that others' open transactions are in the way,
// and the leaders are asked whose it is.
const (
	markerDelay    = time.Millisecond
	markerAttempts = 5
)

// awaitMarkers waits until the last stable offsets have passed a transaction's records, or nothing of it is open there.
func awaitMarkers(ctx context.Context, cl *kgo.Client, who Producer, last Offsets) error {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, readCommitted
	where := touched{}
	for topic, partitions := range last {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for partition := range partitions {
			q := kmsg.NewListOffsetsRequestTopicPartition()
			q.Partition, q.Timestamp, q.CurrentLeaderEpoch = partition, latest, -1
			t.Partitions = append(t.Partitions, q)
			where.add(topic, partition)
		}
		req.Topics = append(req.Topics, t)
	}
	delay := markerDelay
	for attempt := 1; ; attempt++ {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w on %v: %w", errUndecided, where, ctx.Err())
		case <-time.After(delay):
			delay = min(2*delay, 100*time.Millisecond)
		}
		passed, err := stableBeyond(ctx, cl, req, last)
		if err != nil || passed {
			return err
		}
		if attempt < markerAttempts {
			continue
		}
		state, err := describeTransaction(ctx, cl, who.TransactionalID)
		if err != nil || state.Open() {
			continue // markers are on their way, or nobody can tell now
		}
		open, err := undecided(ctx, cl, who.ID, where)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			return nil
		}
		return fmt.Errorf("%w on %v", errUndecided, open)
	}
}

// stableBeyond reports whether every last stable offset is above the given one.
func stableBeyond(ctx context.Context, cl *kgo.Client, req *kmsg.ListOffsetsRequest, last Offsets) (bool, error) {
	passed := true
	err := retry(ctx, leaderless, func() error {
		resp, err := ask(ctx, cl, req)
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
