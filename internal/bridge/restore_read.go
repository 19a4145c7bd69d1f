package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/restore"
)

// How a restore waits.
const (
	// restorePoll is how long nothing must have been fetched until the broker is asked why.
	restorePoll = 50 * time.Millisecond
	// restoreDeparted is how often, while a transaction holds the changelog up, it is looked for whose it is.
	restoreDeparted = time.Second
)

// Read implements restore.Source: it consumes the pending changelogs, committed records only, until each has passed its target. Control records are kept:
// the last offset before the target may be a transaction's marker.
func (r changelogs) Read(ctx context.Context, pending map[commit.Place]*restore.Store) error {
	client, err := r.consumer(pending)
	if err != nil {
		return err
	}
	defer client.Close()
	lookedAt, held := time.Now(), 0
	for len(pending) > 0 {
		fetches := pollFor(ctx, client, restorePoll)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the session has ended: %w", err)
		}
		var failed error
		fetches.EachError(func(topic string, number int32, err error) {
			if topic != "" || !errors.Is(err, context.DeadlineExceeded) {
				failed = errors.Join(failed, fmt.Errorf("reading %s/%d: %w", topic, number, err))
			}
		})
		if failed == nil {
			failed = applyAll(fetches, pending)
		}
		if failed == nil && fetches.NumRecords() == 0 {
			failed = r.probe(ctx, client, pending)
			if failed == nil && time.Since(lookedAt) > restoreDeparted {
				held++
				failed, lookedAt = r.processor.endDeparted(ctx, held), time.Now()
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// applyAll adds what was fetched to the stores, those of several partitions at once while the next fetch is under way, and
// takes those out of pending that are done.
func applyAll(fetches kgo.Fetches, pending map[commit.Place]*restore.Store) error {
	records := map[*restore.Store][][]*kgo.Record{}
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		if s, ok := pending[commit.Place{Topic: fetched.Topic, Partition: fetched.Partition}]; ok {
			records[s] = append(records[s], fetched.Records)
		}
	})
	var applying sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for s, lists := range records {
		applying.Go(func() {
			for _, list := range lists {
				if err := applyFetched(s, list); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
					return
				}
			}
		})
	}
	applying.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	maps.DeleteFunc(pending, func(_ commit.Place, s *restore.Store) bool { return s.Done() })
	return nil
}

// consumer returns a client that reads the pending changelogs from where they stand.
func (r changelogs) consumer(pending map[commit.Place]*restore.Store) (*kgo.Client, error) {
	from := map[string]map[int32]kgo.Offset{}
	for place, s := range pending {
		if from[place.Topic] == nil {
			from[place.Topic] = map[int32]kgo.Offset{}
		}
		from[place.Topic][place.Partition] = kgo.NewOffset().At(s.Next())
	}
	options, err := r.processor.config.Log.ClientOptions()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options,
		kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxPartitionBytes(1<<20), kgo.FetchMaxBytes(4<<20), kgo.WithPools(&fetchedMemory{}))...)
	if err != nil {
		return nil, fmt.Errorf("opening a consumer: %w", err)
	}
	return client, nil
}

func pollFor(ctx context.Context, client *kgo.Client, wait time.Duration) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return client.PollFetches(ctx)
}

// probe asks the broker how far the pending changelogs can be read, where the consumer shows nothing: what lies before the
// target may have been removed by compaction, or be the records of an aborted transaction whose marker was.
func (r changelogs) probe(ctx context.Context, client *kgo.Client, pending map[commit.Place]*restore.Store) error {
	for place, s := range pending {
		next, err := r.readable(ctx, client, place, s.Next())
		if err != nil {
			return fmt.Errorf("reading %s/%d: %w", place.Topic, place.Partition, err)
		}
		s.Passed(next)
		if s.Done() {
			delete(pending, place)
		}
	}
	return nil
}

// readable fetches once at an offset and returns up to where there is certainly no committed record: the offset itself if
// there is one, or if a transaction is not decided yet.
func (r changelogs) readable(ctx context.Context, client *kgo.Client, place commit.Place, at int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.processor.config.Log.WithDefaults().RequestTimeout)
	defer cancel()
	leader, err := leaderOf(ctx, client, place)
	if err != nil {
		return at, err
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes, partition.CurrentLeaderEpoch = place.Partition, at, 1<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = place.Topic, r.processor.topicIDs[place.Topic]
	topic.Partitions = append(topic.Partitions, partition)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 0, 0, 1<<20, 1, -1
	req.Topics = append(req.Topics, topic)
	answer, err := client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return at, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return at, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return at, errors.New("the broker did not answer what was asked")
	}
	fetched := &resp.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(fetched.ErrorCode); {
	case errors.Is(err, kerr.NotLeaderForPartition), errors.Is(err, kerr.LeaderNotAvailable), errors.Is(err, kerr.ReplicaNotAvailable):
		return at, nil // the leader is moving
	case err != nil:
		return at, err
	}
	if len(fetched.RecordBatches) == 0 {
		return max(at, fetched.LastStableOffset), nil
	}
	records, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: at, Topic: place.Topic, Partition: place.Partition, IsolationLevel: kgo.ReadCommitted(),
	}, fetched, kgo.DefaultDecompressor(), nil)
	if records.Err != nil || len(records.Records) > 0 {
		return at, records.Err
	}
	return next, nil
}

func leaderOf(ctx context.Context, client *kgo.Client, place commit.Place) (int32, error) {
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(place.Topic)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return -1, err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return -1, err
		}
		for _, p := range t.Partitions {
			if p.Partition == place.Partition {
				return p.Leader, nil
			}
		}
	}
	return -1, kerr.UnknownTopicOrPartition
}
