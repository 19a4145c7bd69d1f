package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/settle"
)

// settling implements settle.Brokers for a TxnProducer, whose connections it uses.
type settling struct{ *TxnProducer }

// Covers says where the producer may have written in an earlier life: to these topics, and for this group, if it is not empty.
// Init looks there for what that life has left undecided. Call it before Init.
func (p *TxnProducer) Covers(group string, topics ...string) { p.ledger.Covers(group, topics...) }

// bounded limits one question: the context of a watch has no end of its own.
func (s settling) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.RequestTimeout)
}

// TakeOver implements settle.Brokers, by a request of our own: what is settled then is settled under an epoch that franz-go's
// producer never has, so that no late request of it can end one of that producer's transactions.
func (s settling) TakeOver(ctx context.Context) (settle.Producer, error) {
	if err := s.connectPlain(); err != nil {
		return settle.Producer{}, err
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = kmsg.StringPtr(s.id)
	req.TransactionTimeoutMillis = int32(s.timeout.Milliseconds())
	req.ProducerID, req.ProducerEpoch = -1, -1
	var who settle.Producer
	err := retry(ctx, concurrent, func() error {
		resp, err := ask(ctx, s.plain, req)
		if err == nil {
			who, err = settle.Producer{ID: resp.ProducerID, Epoch: resp.ProducerEpoch}, kerr.ErrorForCode(resp.ErrorCode)
		}
		return err
	})
	return who, s.initialising(err)
}

// Initialise implements settle.Brokers.
func (s settling) Initialise(ctx context.Context) error {
	_, _, err := s.cl.ProducerID(ctx)
	return s.initialising(err)
}

func (s settling) initialising(err error) error {
	if errors.Is(err, kerr.InvalidTransactionTimeout) {
		return fmt.Errorf("%w: %s is more than the broker's transaction.max.timeout.ms", err, s.timeout)
	}
	return err
}

// Identity implements settle.Brokers.
func (s settling) Identity(ctx context.Context) (settle.Producer, error) {
	who, err := s.identity(ctx)
	return settle.Producer{ID: who.ID, Epoch: who.Epoch}, err
}

func (s settling) named(who settle.Producer) Producer {
	return Producer{TransactionalID: s.id, ID: who.ID, Epoch: who.Epoch}
}

// Last implements settle.Brokers. Brokers before Kafka 3.0 cannot tell.
func (s settling) Last(ctx context.Context) (settle.Last, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	t, err := describeTransaction(ctx, s.cl, s.id)
	if errors.Is(explain("", err), ErrBrokerTooOld) {
		return settle.Last{}, nil
	}
	return settle.Last{ProducerID: t.ProducerID, Committed: t.State == "CompleteCommit", Open: t.Open()}, err
}

// Decided implements settle.Brokers. What is ongoing is no decision on its way.
func (s settling) Decided(ctx context.Context) (settle.Last, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	for delay := retryDelay; ; delay = min(2*delay, 50*time.Millisecond) {
		t, err := describeTransaction(ctx, s.cl, s.id)
		if errors.Is(explain("", err), ErrBrokerTooOld) {
			return settle.Last{}, nil
		}
		if err != nil || !t.Open() || t.State == "Ongoing" {
			return settle.Last{ProducerID: t.ProducerID, Committed: t.State == "CompleteCommit", Open: t.Open()}, err
		}
		if err := s.Pause(ctx, delay); err != nil {
			return settle.Last{}, fmt.Errorf("%w: the transaction stays in state %s", err, t.State)
		}
	}
}

// Pause implements settle.Brokers.
func (s settling) Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// describeTransaction returns what the coordinator knows of an id, nothing for one it does not know.
func describeTransaction(ctx context.Context, cl *kgo.Client, id string) (Transaction, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	var found Transaction
	err := retry(ctx, concurrent, func() error {
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		for _, t := range resp.TransactionStates {
			found = Transaction{ID: t.TransactionalID, State: t.State, ProducerID: t.ProducerID, ProducerEpoch: t.ProducerEpoch}
			err = kerr.ErrorForCode(t.ErrorCode)
		}
		if errors.Is(err, kerr.TransactionalIDNotFound) {
			found, err = Transaction{}, nil
		}
		return err
	})
	return found, err
}

// Existing implements settle.Brokers.
func (s settling) Existing(ctx context.Context, topics []string) (settle.Partitions, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := ask(ctx, s.cl, req)
	if err != nil {
		return nil, err
	}
	found := settle.Partitions{}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		for _, q := range t.Partitions {
			found.Add(*t.Topic, q.Partition)
		}
	}
	return found, nil
}

// Open implements settle.Brokers. Where the right to read a topic is missing, or that to read __consumer_offsets for a group's
// partition, nobody tells.
func (s settling) Open(ctx context.Context, producer int64, where settle.Places) (settle.Places, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	open := settle.Places{Partitions: settle.Partitions{}}
	all := settle.Partitions{}
	all.AddAll(where.Partitions)
	if where.Group != "" {
		partition, ok, err := s.offsetsPartition(ctx, where.Group)
		if err != nil {
			return open, err
		}
		if ok {
			all.Add(offsetsTopic, partition)
		}
	}
	err := openProducers(ctx, s.cl, all, func(topic string, partition int32, id int64) {
		switch {
		case id != producer:
		case topic == offsetsTopic:
			open.Group = where.Group
		default:
			open.Partitions.Add(topic, partition)
		}
	})
	return open, err
}

// Add implements settle.Brokers, by the requests of clients before KIP-890, which need no record.
func (s settling) Add(ctx context.Context, who settle.Producer, where settle.Places) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.connectPlain(); err != nil {
		return err
	}
	if err := s.addPartitions(ctx, s.named(who), where.Partitions); err != nil {
		return classified(err)
	}
	if where.Group == "" {
		return nil
	}
	return classified(addOffsets(ctx, s.plain, where.Group, s.named(who)))
}

// classified is explain where it is plain what was being done.
func classified(err error) error {
	if err == nil {
		return nil
	}
	if sentinel := classify(err); sentinel != nil && !errors.Is(err, sentinel) {
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	return err
}

func (s settling) addPartitions(ctx context.Context, who Producer, to settle.Partitions) error {
	if len(to) == 0 {
		return nil
	}
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = who.TransactionalID, who.ID, who.Epoch
	for topic, partitions := range to {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = topic, slices.Sorted(maps.Keys(partitions))
		req.Topics = append(req.Topics, t)
	}
	return retry(ctx, concurrent, func() error {
		resp, err := ask(ctx, s.plain, req)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, q := range t.Partitions {
				// One error refuses all, and the others then say OPERATION_NOT_ATTEMPTED.
				if err = kerr.ErrorForCode(q.ErrorCode); err != nil && !errors.Is(err, kerr.OperationNotAttempted) {
					return fmt.Errorf("%s/%d: %w", t.Topic, q.Partition, err)
				}
			}
		}
		return err
	})
}

// End implements settle.Brokers.
func (s settling) End(ctx context.Context, who settle.Producer, commit bool) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.connectPlain(); err != nil {
		return err
	}
	return classified(endTxn(ctx, s.plain, s.named(who), commit))
}

// againTimeout bounds EndAgain: the initialisation that follows decides as well.
const againTimeout = 2 * time.Second

// EndAgain implements settle.Brokers.
func (s settling) EndAgain(ctx context.Context, who settle.Producer, plainly bool) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.RequestTimeout/3, againTimeout))
	defer cancel()
	if plainly {
		return s.End(ctx, who, true)
	}
	return classified(endTxn(ctx, s.cl, s.named(who), true))
}

// openProducers calls f for every producer that has a transaction open on one of the partitions. Where the broker does not
// tell (before Kafka 2.8, or without the right to read the topic), none is known of.
func openProducers(ctx context.Context, cl *kgo.Client, where settle.Partitions, f func(topic string, partition int32, id int64)) error {
	if len(where) == 0 {
		return nil
	}
	req := kmsg.NewPtrDescribeProducersRequest()
	for topic, partitions := range where {
		t := kmsg.NewDescribeProducersRequestTopic()
		t.Topic, t.Partitions = topic, slices.Sorted(maps.Keys(partitions))
		req.Topics = append(req.Topics, t)
	}
	var resp *kmsg.DescribeProducersResponse
	err := retry(ctx, leaderless, func() error {
		var err error
		if resp, err = ask(ctx, cl, req); err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, q := range t.Partitions {
				if err := kerr.ErrorForCode(q.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAuthorizationFailed) {
					return fmt.Errorf("asking for the producers of %s/%d: %w", t.Topic, q.Partition, err)
				}
			}
		}
		return nil
	})
	if errors.Is(explain("", err), ErrBrokerTooOld) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, q := range t.Partitions {
			for _, producer := range q.ActiveProducers {
				if producer.CurrentTxnStartOffset >= 0 {
					f(t.Topic, q.Partition, producer.ProducerID)
				}
			}
		}
	}
	return nil
}

// leaderless is what is answered for a partition that has no leader, or another one than it had, or one that has not heard
// of it yet.
var leaderless = anyOf(kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.UnknownTopicOrPartition)
