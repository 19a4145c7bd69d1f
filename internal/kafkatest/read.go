package kafkatest

import (
	"context"
	"sort"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ReadAll returns what a topic holds now, partition after partition in offset
// order, without control records: up to the last stable offset and without
// aborted records if readCommitted, everything otherwise. It does not follow
// the topic.
func (b Broker) ReadAll(t testing.TB, topic string, readCommitted bool) []*kgo.Record {
	t.Helper()
	cl := b.Client(t)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	r := reader{cl: cl, topic: topic, isolation: kgo.ReadUncommitted()}
	if readCommitted {
		r.level, r.isolation = 1, kgo.ReadCommitted()
	}
	records, err := r.all(ctx)
	if err != nil {
		t.Fatalf("kafkatest: reading topic %s: %v", topic, err)
	}
	return records
}

// End returns a partition's high-water mark, or its last stable offset if
// readCommitted.
func (b Broker) End(t testing.TB, topic string, partition int32, readCommitted bool) int64 {
	t.Helper()
	cl := b.Client(t)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	r := reader{cl: cl, topic: topic}
	if readCommitted {
		r.level = 1
	}
	end, err := r.offset(ctx, partition, -1)
	if err != nil {
		t.Fatalf("kafkatest: asking for the end of %s/%d: %v", topic, partition, err)
	}
	return end
}

// reader fetches by hand, because only the fetch response shows how far the
// broker has got where the last records are markers or aborted.
type reader struct {
	cl        *kgo.Client
	topic     string
	id        [16]byte
	level     int8
	isolation kgo.IsolationLevel
}

func (r *reader) all(ctx context.Context) ([]*kgo.Record, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(r.topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return nil, err
	}
	r.id = resp.Topics[0].TopicID
	partitions := resp.Topics[0].Partitions
	sort.Slice(partitions, func(i, j int) bool { return partitions[i].Partition < partitions[j].Partition })
	var all []*kgo.Record
	for _, p := range partitions {
		if all, err = r.partition(ctx, all, p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *reader) partition(ctx context.Context, all []*kgo.Record, p kmsg.MetadataResponseTopicPartition) ([]*kgo.Record, error) {
	at, err := r.offset(ctx, p.Partition, -2)
	if err != nil {
		return nil, err
	}
	end, err := r.offset(ctx, p.Partition, -1)
	if err != nil {
		return nil, err
	}
	for at < end {
		got, err := r.fetch(ctx, p.Leader, p.Partition, at)
		if err != nil {
			return nil, err
		}
		records, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: at, Topic: r.topic, Partition: p.Partition, IsolationLevel: r.isolation,
		}, got, kgo.DefaultDecompressor(), nil)
		if records.Err != nil {
			return nil, records.Err
		}
		for _, rec := range records.Records {
			if rec.Offset < end {
				all = append(all, rec)
			}
		}
		if next == at && len(got.RecordBatches) == 0 {
			break // the log ends in what compaction removed
		}
		at = next
	}
	return all, nil
}

func (r *reader) fetch(ctx context.Context, leader, partition int32, at int64) (*kmsg.FetchResponseTopicPartition, error) {
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = partition, at, 8<<20, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID = r.topic, r.id
	ft.Partitions = append(ft.Partitions, fp)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 100, 1, 16<<20, r.level
	req.SessionEpoch = -1
	req.Topics = append(req.Topics, ft)
	got, err := r.cl.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := got.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	part := &resp.Topics[0].Partitions[0]
	return part, kerr.ErrorForCode(part.ErrorCode)
}

func (r *reader) offset(ctx context.Context, partition int32, timestamp int64) (int64, error) {
	lp := kmsg.NewListOffsetsRequestTopicPartition()
	lp.Partition, lp.Timestamp, lp.CurrentLeaderEpoch = partition, timestamp, -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = r.topic
	lt.Partitions = append(lt.Partitions, lp)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, r.level
	req.Topics = append(req.Topics, lt)
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return 0, err
	}
	p := resp.Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}
