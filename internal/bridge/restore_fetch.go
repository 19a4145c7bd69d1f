package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/commit"
)

const (
	// restoreFetchBytes bounds the answer to a fetch, but for a single batch that is larger.
	restoreFetchBytes = 1 << 20
	// readCommitted is the isolation level in a fetch.
	readCommitted = 1
)

// fetched is what came of a fetch. Without a partition and an error it is to be asked again later.
type fetched struct {
	partition *kmsg.FetchResponseTopicPartition
	err       error
}

// start fetches in the background.
func (r *reading) start(ctx context.Context, place commit.Place, at int64) <-chan fetched {
	answer := make(chan fetched, 1)
	r.running.Go(func() {
		partition, err := r.fetch(ctx, place, at)
		if retriable(err) {
			r.mu.Lock()
			delete(r.leaders, place)
			r.mu.Unlock()
			partition, err = nil, nil
		}
		answer <- fetched{partition, err}
	})
	return answer
}

// retriable tells whether brokers say that the leader is moving, or that there is none for now.
func retriable(err error) bool {
	for _, moving := range []error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.OffsetNotAvailable, kerr.KafkaStorageError,
	} {
		if errors.Is(err, moving) {
			return true
		}
	}
	return false
}

// fetch asks the leader of a changelog for what is there from an offset on, without waiting for more. It returns nil if the
// broker holds its answer back, because it is asked too much.
func (r *reading) fetch(ctx context.Context, place commit.Place, at int64) (*kmsg.FetchResponseTopicPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, r.processor.config.Log.WithDefaults().RequestTimeout)
	defer cancel()
	leader, err := r.leader(ctx, place)
	if err != nil {
		return nil, err
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes, partition.CurrentLeaderEpoch = place.Partition, at, restoreFetchBytes, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = place.Topic, r.processor.topicIDs[place.Topic]
	topic.Partitions = append(topic.Partitions, partition)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 0, 0, restoreFetchBytes, readCommitted, -1
	req.Topics = append(req.Topics, topic)
	answer, err := r.processor.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != place.Partition {
		if resp.ThrottleMillis > 0 {
			return nil, nil
		}
		return nil, errors.New("the broker did not answer what was asked")
	}
	found := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return nil, fmt.Errorf("at offset %d: %w", at, err)
	}
	return found, nil
}

// leader returns the number of the broker that leads a changelog.
func (r *reading) leader(ctx context.Context, place commit.Place) (int32, error) {
	r.mu.Lock()
	leader, known := r.leaders[place]
	r.mu.Unlock()
	if known {
		return leader, nil
	}
	leader, err := leaderOf(ctx, r.processor.client, place)
	if err == nil {
		r.mu.Lock()
		r.leaders[place] = leader
		r.mu.Unlock()
	}
	return leader, err
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
			if p.Partition != place.Partition {
				continue
			}
			if p.Leader < 0 {
				return -1, kerr.LeaderNotAvailable // its broker is away, or another one is about to lead
			}
			return p.Leader, nil
		}
	}
	return -1, kerr.UnknownTopicOrPartition
}
