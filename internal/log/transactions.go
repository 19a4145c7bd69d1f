package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/settle"
)

// Transaction is a transactional id and what its coordinator knows of it.
type Transaction struct {
	// ID is the transactional id.
	ID string
	// State is Kafka's name for the state, such as "Ongoing".
	State string
	// ProducerID and ProducerEpoch are those of its present producer; the epoch
	// is only filled in by DescribeTransactions.
	ProducerID    int64
	ProducerEpoch int16
	// Timeout is after what time the coordinator aborts it; Started is when it
	// began, zero if it is not open. Only DescribeTransactions fills these in.
	Timeout time.Duration
	Started time.Time
	// Partitions are what it has written to so far; only from DescribeTransactions.
	Partitions map[string][]int32
}

// Open reports whether the transaction is not yet decided, or decided and its
// markers not all written: until then it holds back read_committed consumers.
func (t Transaction) Open() bool {
	switch t.State {
	case "Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence":
		return true
	}
	return false
}

// ListTransactions returns the transactional ids that begin with a prefix, open
// or not, sorted. It needs Kafka 3.0 (KIP-664).
func (a *Admin) ListTransactions(ctx context.Context, prefix string) ([]Transaction, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrListTransactionsRequest()
	req.DurationFilterMillis = -1
	var all []Transaction
	err := retry(ctx, anyOf(kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable), func() error {
		all = nil
		shards, err := within(ctx, func() ([]kgo.ResponseShard, error) { return a.cl.RequestSharded(ctx, req), nil })
		if err != nil {
			return err
		}
		for _, shard := range shards {
			if shard.Err != nil {
				return shard.Err
			}
			resp := shard.Resp.(*kmsg.ListTransactionsResponse)
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return err
			}
			for _, t := range resp.TransactionStates {
				if strings.HasPrefix(t.TransactionalID, prefix) {
					all = append(all, Transaction{ID: t.TransactionalID, State: t.TransactionState, ProducerID: t.ProducerID, ProducerEpoch: -1})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, a.explain("listing transactions", err)
	}
	slices.SortFunc(all, func(x, y Transaction) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// OpenTransactions returns the ids with this prefix whose transaction is Open.
func (a *Admin) OpenTransactions(ctx context.Context, prefix string) ([]string, error) {
	all, err := a.ListTransactions(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, t := range all {
		if t.Open() {
			open = append(open, t.ID)
		}
	}
	return open, nil
}

// OpenProducers returns the producer ids that have a transaction open on a partition of these topics or, if a group is named, on
// that of its offsets, by the partitions' own account: a coordinator may have done with one that a partition still has open
// (package settle). It needs Kafka 2.8 and the right to read the topics, for a group __consumer_offsets; where it does not get
// to know, there is none.
func (a *Admin) OpenProducers(ctx context.Context, group string, topics ...string) (map[int64]bool, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	where := settle.Partitions{}
	if group != "" {
		t, _, err := a.metadata(ctx, offsetsTopic)
		if err == nil && t.Partitions > 0 {
			where.Add(offsetsTopic, groupPartition(group, t.Partitions))
		}
	}
	for _, topic := range topics {
		t, _, err := a.metadata(ctx, topic)
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, a.explain("looking for topic "+topic, err)
		}
		for partition := range t.Partitions {
			where.Add(topic, partition)
		}
	}
	open := map[int64]bool{}
	err := openProducers(ctx, a.cl, where, func(_ string, _ int32, producerID int64) { open[producerID] = true })
	return open, a.explain("asking for open transactions", err)
}

// DescribeTransactions returns what is known of the given ids; one that the
// coordinator does not know is left out. It needs Kafka 3.0 (KIP-664).
func (a *Admin) DescribeTransactions(ctx context.Context, ids ...string) ([]Transaction, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = ids
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return nil, a.explain("describing transactions", err)
	}
	var all []Transaction
	for _, t := range resp.TransactionStates {
		err := kerr.ErrorForCode(t.ErrorCode)
		if errors.Is(err, kerr.TransactionalIDNotFound) {
			continue
		}
		if err != nil {
			return nil, a.explain("describing transaction "+t.TransactionalID, err)
		}
		d := Transaction{
			ID: t.TransactionalID, State: t.State, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch,
			Timeout: time.Duration(t.TimeoutMillis) * time.Millisecond,
		}
		if t.StartTimestamp >= 0 {
			d.Started = time.UnixMilli(t.StartTimestamp)
		}
		for _, topic := range t.Topics {
			if d.Partitions == nil {
				d.Partitions = make(map[string][]int32)
			}
			d.Partitions[topic.Topic] = topic.Partitions
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(x, y Transaction) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// abortTimeout is the transaction time-out that AbortTransactions leaves behind
// on the ids; their next producer sets its own.
const abortTimeout = time.Minute

// AbortTransactions ends the open transactions of the given ids by initialising
// them, which also fences their producers, and returns when they are ended. An
// id without a transaction is only fenced.
func (a *Admin) AbortTransactions(ctx context.Context, ids ...string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	return inParallel(len(ids), 8, func(i int) error {
		doing := fmt.Sprintf("ending the transaction of %s", ids[i])
		return a.explain(doing, retry(ctx, anyOf(kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress), func() error {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID = kmsg.StringPtr(ids[i])
			req.TransactionTimeoutMillis = int32(abortTimeout.Milliseconds())
			req.ProducerID, req.ProducerEpoch = -1, -1
			resp, err := ask(ctx, a.cl, req)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		}))
	})
}
