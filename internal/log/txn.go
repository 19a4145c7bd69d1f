package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Member is a member of a consumer group at one generation, as the client that
// manages it knows itself (KIP-447).
type Member struct {
	// Group is the group's id.
	Group string
	// MemberID and Generation are what JoinGroup answered.
	MemberID   string
	Generation int32
	// InstanceID is the group instance id of a static member, empty for another.
	InstanceID string
}

// Producer is a transactional producer's identity.
type Producer struct {
	// TransactionalID is its name.
	TransactionalID string
	// ID and Epoch are what InitProducerID or the last EndTxn answered.
	ID    int64
	Epoch int16
}

// concurrent is what the coordinators answer for a moment while they are busy
// with the same transaction.
var concurrent = anyOf(kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)

// TxnOffsetCommit adds a group's positions to a producer's open transaction,
// which begins with it if it has nothing else yet. The group may be managed by
// any client.
//
// The client must come from Config.ClientOptions. implicit says whether the
// cluster has transaction.version 2 (KIP-890), by which the broker adds the
// group to the transaction itself; otherwise AddOffsetsToTxn is sent first, and
// the client must not speak version 5 of TxnOffsetCommit: see TxnProducer,
// which cares for all this.
//
// It waits, within the deadline, while a coordinator is busy. ErrProducerFenced,
// ErrMemberFenced and ErrInstanceFenced mean that the transaction must be
// aborted and the work dropped.
func TxnOffsetCommit(ctx context.Context, cl *kgo.Client, implicit bool, m Member, p Producer, to Positions) error {
	doing := fmt.Sprintf("adding the offsets of group %s to transaction %s", m.Group, p.TransactionalID)
	if !implicit {
		if err := addOffsets(ctx, cl, m.Group, p); err != nil {
			return explain(doing, err)
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.TransactionalID, m.Group, p.ID, p.Epoch
	req.Generation, req.MemberID = m.Generation, m.MemberID
	if m.InstanceID != "" {
		req.InstanceID = kmsg.StringPtr(m.InstanceID)
	}
	for topic, partitions := range to {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic = topic
		for partition, at := range partitions {
			tp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			tp.Partition, tp.Offset, tp.LeaderEpoch, tp.Metadata = partition, at.Offset, at.LeaderEpoch, kmsg.StringPtr(at.Metadata)
			t.Partitions = append(t.Partitions, tp)
		}
		req.Topics = append(req.Topics, t)
	}
	return explain(doing, retry(ctx, concurrent, func() error {
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		if resp.Version < 3 {
			return fmt.Errorf("%w: exactly once needs Kafka 2.5 (KIP-447)", ErrBrokerTooOld)
		}
		return txnOffsetCommitError(resp)
	}))
}

// txnOffsetCommitError joins what went wrong, each error once: most are the same
// for all partitions.
func txnOffsetCommitError(resp *kmsg.TxnOffsetCommitResponse) error {
	var errs []error
	seen := map[int16]bool{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !seen[p.ErrorCode] {
				seen[p.ErrorCode] = true
				errs = append(errs, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err))
			}
		}
	}
	return errors.Join(errs...)
}

func addOffsets(ctx context.Context, cl *kgo.Client, group string, p Producer) error {
	return retry(ctx, concurrent, func() error {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.TransactionalID, group, p.ID, p.Epoch
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// endTxn ends a transaction by a request of our own. If the producer goes on, the
// client must speak at most version 4 of EndTxn, which leaves the producer's epoch
// as it is: franz-go would not learn of a new one.
func endTxn(ctx context.Context, cl *kgo.Client, p Producer, commit bool) error {
	return retry(ctx, concurrent, func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.TransactionalID, p.ID, p.Epoch, commit
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}
