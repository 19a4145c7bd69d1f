package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offsets holds an offset for each partition of each topic.
type Offsets map[string]map[int32]int64

// set stores one offset.
func (o Offsets) set(topic string, partition int32, offset int64) {
	if o[topic] == nil {
		o[topic] = make(map[int32]int64)
	}
	o[topic][partition] = offset
}

// What a ListOffsets request can ask for besides a time in milliseconds.
const (
	latest   = -1
	earliest = -2
)

// The isolation levels of requests.
const (
	readUncommitted int8 = iota
	readCommitted
)

// EndOffsets returns the high-water marks: the offset after the last record or
// marker that every replica has.
func (a *Admin) EndOffsets(ctx context.Context, topics ...string) (Offsets, error) {
	return a.listOffsets(ctx, "asking for the end of", latest, readUncommitted, topics)
}

// StableOffsets returns the last stable offsets: below them every transaction
// is decided, so a read_committed consumer gets up to there. With no open
// transaction they are the high-water marks.
func (a *Admin) StableOffsets(ctx context.Context, topics ...string) (Offsets, error) {
	return a.listOffsets(ctx, "asking for the last stable offset of", latest, readCommitted, topics)
}

// StartOffsets returns the offsets of the first records still there.
func (a *Admin) StartOffsets(ctx context.Context, topics ...string) (Offsets, error) {
	return a.listOffsets(ctx, "asking for the start of", earliest, readUncommitted, topics)
}

// OffsetsAt returns the offsets of the first records at or after a time, and the
// end of those partitions that have none.
func (a *Admin) OffsetsAt(ctx context.Context, at time.Time, topics ...string) (Offsets, error) {
	found, err := a.listOffsets(ctx, "looking for a time in", at.UnixMilli(), readUncommitted, topics)
	if err != nil {
		return nil, err
	}
	var ends Offsets
	for topic, partitions := range found {
		for p, o := range partitions {
			if o >= 0 {
				continue
			}
			if ends == nil {
				if ends, err = a.EndOffsets(ctx, topics...); err != nil {
					return nil, err
				}
			}
			partitions[p] = ends[topic][p]
		}
	}
	return found, nil
}

func (a *Admin) listOffsets(ctx context.Context, doing string, timestamp int64, isolation int8, topics []string) (Offsets, error) {
	found := Offsets{}
	if len(topics) == 0 {
		return found, nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	for _, name := range topics {
		doing += " " + name
		t, _, err := a.metadata(ctx, name)
		if err != nil {
			return nil, a.explain(fmt.Sprintf("looking for topic %s", name), err)
		}
		lt := kmsg.NewListOffsetsRequestTopic()
		lt.Topic = name
		for p := range t.Partitions {
			lp := kmsg.NewListOffsetsRequestTopicPartition()
			lp.Partition, lp.Timestamp, lp.CurrentLeaderEpoch = p, timestamp, -1
			lt.Partitions = append(lt.Partitions, lp)
		}
		req.Topics = append(req.Topics, lt)
	}
	passing := anyOf(kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.OffsetNotAvailable)
	err := retry(ctx, passing, func() error {
		resp, err := ask(ctx, a.cl, req)
		if err != nil {
			return err
		}
		var errs []error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					errs = append(errs, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err))
					continue
				}
				found.set(t.Topic, p.Partition, p.Offset)
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return nil, a.explain(doing, err)
	}
	return found, nil
}

// DeleteRecords makes the given offsets the first of their partitions. An offset
// above the high-water mark is an error.
func (a *Admin) DeleteRecords(ctx context.Context, before Offsets) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = int32(a.cfg.RequestTimeout.Milliseconds())
	for topic, partitions := range before {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for p, offset := range partitions {
			dp := kmsg.NewDeleteRecordsRequestTopicPartition()
			dp.Partition, dp.Offset = p, offset
			t.Partitions = append(t.Partitions, dp)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return a.explain("deleting records", err)
	}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				errs = append(errs, a.explain(fmt.Sprintf("deleting records of %s/%d", t.Topic, p.Partition), err))
			}
		}
	}
	return errors.Join(errs...)
}
