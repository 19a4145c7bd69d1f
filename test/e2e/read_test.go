package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readTopic returns what a read_committed consumer sees of a topic now, partition by partition. It shares nothing with
// the code under test but the client library.
func readTopic(t *testing.T, brokers, topic string) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	asking, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	ends := decidedEnds(ctx, t, asking, topic)
	from := map[int32]kgo.Offset{}
	for partition, end := range ends {
		if end > 0 {
			from[partition] = kgo.NewOffset().AtStart()
		}
	}
	read := map[int32][]*kgo.Record{}
	if len(from) == 0 {
		return read
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	at := map[int32]int64{}
	for behind(at, ends) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("reading %s up to %v, at %v: %v", topic, ends, at, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, record := range p.Records {
				at[record.Partition] = record.Offset + 1
				if !record.Attrs.IsControl() && record.Offset < ends[record.Partition] {
					read[record.Partition] = append(read[record.Partition], record)
				}
			}
		})
		// The last records of a partition may be of an aborted transaction, which a client does not see.
		for partition := range ends {
			if at[partition] < ends[partition] && time.Since(started(ctx)) > patience/2 {
				t.Logf("partition %d of %s ends in what nobody sees", partition, topic)
				at[partition] = ends[partition]
			}
		}
	}
	return read
}

// started returns when a context with patience began.
func started(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline.Add(-patience)
}

func behind(at, ends map[int32]int64) bool {
	for partition, end := range ends {
		if at[partition] < end {
			return true
		}
	}
	return false
}

// decidedEnds returns the ends of the partitions once everything below them is decided. The markers of a transaction reach the
// partitions at different times: where the group's offsets are committed, its events need not be visible yet.
func decidedEnds(ctx context.Context, t *testing.T, client *kgo.Client, topic string) map[int32]int64 {
	t.Helper()
	ends, err := endOffsets(ctx, client, topic, 0)
	for stable := map[int32]int64{}; err == nil && behind(stable, ends); {
		stable, err = lastStable(ctx, client, topic)
		if err == nil && behind(stable, ends) {
			time.Sleep(2 * time.Millisecond)
		}
	}
	if err != nil {
		t.Fatalf("asking for the end of %s: %v", topic, err)
	}
	return ends
}

// lastStable returns the last stable offsets of a topic.
func lastStable(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	return endOffsets(ctx, client, topic, 1)
}

// endOffsets returns the ends of a topic's partitions at an isolation level.
func endOffsets(ctx context.Context, client *kgo.Client, topic string, isolation int8) (map[int32]int64, error) {
	count, err := partitions(ctx, client, topic)
	if err != nil {
		return nil, err
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID, request.IsolationLevel = -1, isolation
	wanted := kmsg.NewListOffsetsRequestTopic()
	wanted.Topic = topic
	for partition := range count {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp, one.CurrentLeaderEpoch = partition, -1, -1
		wanted.Partitions = append(wanted.Partitions, one)
	}
	request.Topics = append(request.Topics, wanted)
	ends := map[int32]int64{}
	for _, shard := range client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		response, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if !ok {
			return nil, fmt.Errorf("the answer is a %T", shard.Resp)
		}
		for _, answered := range response.Topics {
			for _, partition := range answered.Partitions {
				if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
					return nil, err
				}
				ends[partition.Partition] = partition.Offset
			}
		}
	}
	return ends, nil
}

func partitions(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	request := kmsg.NewPtrMetadataRequest()
	one := kmsg.NewMetadataRequestTopic()
	one.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, one)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if err := kerr.ErrorForCode(response.Topics[0].ErrorCode); err != nil {
		return 0, err
	}
	return int32(len(response.Topics[0].Partitions)), nil
}
