package log

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// NewProducer returns an idempotent producer without transactions, acknowledged by all in-sync replicas, that partitions
// as Java's does or as SetPartition says. The caller closes it. The extra options take precedence over Config's.
func NewProducer(cfg Config, extra ...kgo.Opt) (*kgo.Client, error) {
	opts, err := cfg.ClientOptions()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.RecordPartitioner(partitioner{}),
		kgo.MaxBufferedRecords(maxBufferedRecords),
		kgo.MaxBufferedBytes(maxBufferedBytes),
		// No RecordDeliveryTimeout: the client counts it from the record's timestamp, which may be message time.
	)
	client, err := kgo.NewClient(append(opts, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return client, nil
}

// SetPartition chooses the partition of a record for a producer of this package; below 0 its key does.
func SetPartition(r *kgo.Record, partition int32) {
	r.Partition = 0
	if partition >= 0 {
		r.Partition = chosen(partition)
	}
}

// SetPartitionKey has a producer of this package choose the partition of a record by another key than the record's own:
// that of the part of a row's key which decides (codecs.Partitioner).
func SetPartitionKey(r *kgo.Record, key []byte) { r.Partition = hashed(key) }

// OffsetCommit commits a group's positions outside of a transaction, as the given member: it fails with ErrMemberFenced or
// ErrInstanceFenced if the group has gone on without it.
func OffsetCommit(ctx context.Context, cl *kgo.Client, m Member, to Positions) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = m.Group, m.Generation, m.MemberID
	if m.InstanceID != "" {
		req.InstanceID = &m.InstanceID
	}
	for topic, partitions := range to {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for partition, at := range partitions {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = partition, at.Offset, at.LeaderEpoch
			metadata := at.Metadata
			p.Metadata = &metadata
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	passing := anyOf(kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)
	err := retry(ctx, passing, func() error {
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		for _, topic := range resp.Topics {
			for _, partition := range topic.Partitions {
				if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return explain("committing the offsets of group "+m.Group, err)
}
