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
)

// A coordinator calls a transaction complete once its marker is on every partition. Kafka 4.3 leaves out the partitions that
// have no leader at that moment, as if their topics were deleted (KAFKA-20734): a broker that was fenced, if only for a
// moment, may keep records of an aborted or committed transaction undecided for ever. The partition takes them for part of
// the producer's next transaction and does with them what becomes of that one. So what a coordinator says of a transaction
// is believed only where the partitions' leaders say the same, and what is left undecided is ended by a transaction that
// has nothing in it: the coordinator writes its marker to partitions that are added to it, records or not.

// touched are partitions, by topic.
type touched map[string]map[int32]struct{}

func (t touched) add(topic string, partition int32) {
	if t[topic] == nil {
		t[topic] = make(map[int32]struct{})
	}
	t[topic][partition] = struct{}{}
}

func (t touched) addAll(other touched) {
	for topic, partitions := range other {
		for partition := range partitions {
			t.add(topic, partition)
		}
	}
}

// Covers says where the producer may have written in an earlier life: to these topics, and for this group. Init looks there
// for what that life has left undecided. Call it before Init.
func (p *TxnProducer) Covers(group string, topics ...string) {
	p.group, p.outputs, p.doubtful = group, topics, true
}

// decided waits until no decision of the coordinator is on its way, and returns what it knows of the id: an empty state for
// an unknown id, and for brokers that cannot tell (before Kafka 3.0).
func (p *TxnProducer) decided(ctx context.Context) (Transaction, error) {
	for delay := retryDelay; ; delay = min(2*delay, 50*time.Millisecond) {
		t, err := describeTransaction(ctx, p.cl, p.id)
		if errors.Is(explain("", err), ErrBrokerTooOld) {
			return Transaction{}, nil
		}
		if err != nil || !t.Open() || t.State == "Ongoing" {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("%w: the transaction stays in state %s", ctx.Err(), t.State)
		case <-time.After(delay):
		}
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

// past looks at what the id's last producer has left, before a new one is initialised. A commit whose answer is missing is
// asked for again, so that it is decided and no late request can decide it. If the last transaction was committed, what is
// undecided now is owed to it; if not, it will be aborted.
func (p *TxnProducer) past(ctx context.Context) error {
	if err := p.askAgain(ctx); err != nil {
		return err
	}
	last, err := p.decided(ctx)
	if err != nil || last.State != "CompleteCommit" {
		return err
	}
	where, err := p.everywhere(ctx)
	if err != nil {
		return err
	}
	open, err := undecided(ctx, p.cl, last.ProducerID, where)
	if err == nil && (len(open) > 0 || p.group != "") {
		p.owed.addAll(open)
		p.owes = true
	}
	return err
}

// askAgainTimeout bounds askAgain: the initialisation that follows decides as well.
const askAgainTimeout = 2 * time.Second

// askAgain asks for a commit whose answer is missing. Where there is none again, the initialisation decides, unless the
// commit was that of a debt.
func (p *TxnProducer) askAgain(ctx context.Context) error {
	if p.unanswered == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, min(p.cfg.RequestTimeout/3, askAgainTimeout))
	defer cancel()
	err := p.unanswered(bounded)
	if err != nil && p.owes && !errors.Is(explain("", err), ErrProducerFenced) {
		return err
	}
	p.unanswered = nil
	return nil
}

// settlePast carries out, under the new epoch, what past has found. It comes after the initialisation because somebody else may
// have had the id until then, whose transaction must not be committed. Until it has succeeded the debt is kept: nobody else
// knows of it any more.
func (p *TxnProducer) settlePast(ctx context.Context) error {
	if !p.owes {
		return nil
	}
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	open, err := undecided(ctx, p.cl, who.ID, p.owed)
	if err != nil {
		return err
	}
	p.unanswered = func(ctx context.Context) error { return p.endPlainly(ctx, who, true) }
	if err := p.settle(ctx, who, true, open); err != nil {
		return err
	}
	p.unanswered, p.owes = nil, false
	clear(p.owed)
	return nil
}

// settleAborted makes sure that nothing of the id's past is undecided once a producer is initialised, or has aborted: what
// still is was aborted.
func (p *TxnProducer) settleAborted(ctx context.Context) error {
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	where, err := p.everywhere(ctx)
	if err != nil {
		return err
	}
	open, err := undecided(ctx, p.cl, who.ID, where)
	if err != nil {
		return err
	}
	if p.doubtful {
		// Records of the failed transaction may still be on their way. A marker of the new epoch lets none of them in.
		for topic, partitions := range p.writtenTo() {
			for partition := range partitions {
				if _, there := where[topic][partition]; there {
					open.add(topic, partition)
				}
			}
		}
	}
	if len(open) > 0 || p.doubtful && p.group != "" {
		err = p.settle(ctx, who, false, open)
	}
	p.doubtful = p.doubtful && err != nil
	return err
}

// settle ends an empty transaction on these partitions until none of them has an open one.
func (p *TxnProducer) settle(ctx context.Context, who Producer, commit bool, open touched) error {
	if err := p.connectPlain(); err != nil {
		return err
	}
	for delay := retryDelay; ; delay = min(2*delay, 100*time.Millisecond) {
		if err := p.addPartitions(ctx, who, open); err != nil {
			return err
		}
		if p.group != "" {
			if err := addOffsets(ctx, p.plain, p.group, who); err != nil {
				return err
			}
		}
		if err := endTxn(ctx, p.plain, who, commit); err != nil {
			return err
		}
		if _, err := p.decided(ctx); err != nil {
			return err
		}
		left, err := undecided(ctx, p.cl, who.ID, open)
		if err != nil {
			return err
		}
		if open = left; len(open) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %v have a transaction that is still undecided", ctx.Err(), open)
		case <-time.After(delay):
		}
	}
}

// addPartitions adds partitions to a transaction by the request of clients before KIP-890, which needs no record.
func (p *TxnProducer) addPartitions(ctx context.Context, who Producer, to touched) error {
	if len(to) == 0 {
		return nil
	}
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = who.TransactionalID, who.ID, who.Epoch
	for topic, partitions := range to {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic = topic
		for partition := range partitions {
			t.Partitions = append(t.Partitions, partition)
		}
		req.Topics = append(req.Topics, t)
	}
	return retry(ctx, concurrent, func() error {
		resp, err := ask(ctx, p.plain, req)
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

// everywhere is all that the producer may have written to, in this life or an earlier one.
func (p *TxnProducer) everywhere(ctx context.Context) (touched, error) {
	written := p.writtenTo()
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range slices.Concat(slices.Collect(maps.Keys(written)), p.outputs) {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	if len(req.Topics) == 0 {
		return nil, nil
	}
	resp, err := ask(ctx, p.cl, req)
	if err != nil {
		return nil, err
	}
	all := touched{}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		partitions, known := written[*t.Topic]
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && known {
			return nil, fmt.Errorf("looking for topic %s, which has been written to: %w", *t.Topic, err)
		}
		for _, q := range t.Partitions {
			// A record that failed before it had a partition may have left a number that is none.
			if _, wrote := partitions[q.Partition]; wrote || slices.Contains(p.outputs, *t.Topic) {
				all.add(*t.Topic, q.Partition)
			}
		}
	}
	return all, nil
}

// writtenTo is what the producer has written to since it was last settled.
func (p *TxnProducer) writtenTo() touched {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := touched{}
	written.addAll(p.written)
	return written
}

// wrote notes that a record was, or may have been, sent to a partition.
func (p *TxnProducer) wrote(topic string, partition int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written.add(topic, partition)
}

// undecided returns where a transaction of this producer id is open, by the leaders' own account.
func undecided(ctx context.Context, cl *kgo.Client, producerID int64, where touched) (touched, error) {
	open := touched{}
	err := openProducers(ctx, cl, where, func(topic string, partition int32, id int64) {
		if id == producerID {
			open.add(topic, partition)
		}
	})
	return open, err
}

// openProducers calls f for every producer that has a transaction open on one of the partitions. Where the broker does not
// tell (before Kafka 2.8, or without the right to read the topic), none is known of.
func openProducers(ctx context.Context, cl *kgo.Client, where touched, f func(topic string, partition int32, id int64)) error {
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
