package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
)

// transactional is a commit.Producer on one transactional id: exactly once.
type transactional struct {
	producer *log.TxnProducer
	pending  pending
}

// pending are the records of a transaction whose offsets are asked for.
type pending []acknowledgement

type acknowledgement struct {
	record *kgo.Record
	done   func(int64)
}

// settle tells the offsets once everything is flushed: the client has set them in the records.
func (p *pending) settle() {
	for _, a := range *p {
		a.done(a.record.Offset)
	}
	p.forget()
}

func (p *pending) forget() {
	clear(*p)
	*p = (*p)[:0]
}

func (p *pending) add(record *kgo.Record, done func(int64)) {
	if done != nil {
		*p = append(*p, acknowledgement{record: record, done: done})
	}
}

// Begin implements commit.Producer. After a failure the id is initialised again first.
func (t *transactional) Begin(ctx context.Context) error {
	err := t.producer.Begin()
	if errors.Is(err, log.ErrNotReady) {
		if err := t.producer.Reinit(ctx); err != nil {
			return translate(err)
		}
		err = t.producer.Begin()
	}
	return translate(err)
}

// Send implements commit.Producer.
func (t *transactional) Send(output *graph.Output, done func(int64)) {
	record := newRecord(output)
	t.pending.add(record, done)
	if output.Partition == graph.PartitionByKey {
		t.producer.Produce(record)
		return
	}
	t.producer.ProduceTo(record, output.Partition)
}

// Commit implements commit.Producer. The offsets follow the flushed records: sent beside them they would save a round trip,
// but the coordinator, adding partitions to the transaction for both, answers one of them late (p99 90 ms instead of 10,
// measured on Kafka 4.3).
func (t *transactional) Commit(ctx context.Context, member commit.Member, offsets []commit.Offset) (commit.Outcome, error) {
	err := t.producer.Flush(ctx)
	if err == nil {
		err = t.producer.CommitOffsets(ctx, logMember(member), positions(offsets))
	}
	if err != nil {
		t.pending.forget()
		_, endErr := t.producer.End(ctx, false)
		return commit.Aborted, translate(errors.Join(err, endErr))
	}
	t.pending.settle()
	outcome, err := t.producer.End(ctx, true)
	switch outcome {
	case log.Committed:
		return commit.Committed, nil
	case log.Aborted:
		return commit.Aborted, translate(err)
	}
	return commit.Unknown, translate(err)
}

// Recover implements commit.Producer.
func (t *transactional) Recover(ctx context.Context) error {
	t.pending.forget()
	return translate(t.producer.Reinit(ctx))
}

// idempotent is a commit.Producer without transactions: at least once. Records are flushed before the offsets are
// committed, so that a crash between the two repeats them.
type idempotent struct {
	client  *kgo.Client
	pending pending
	failed  chan error // the first record's error; has room for one
}

// Begin implements commit.Producer.
func (p *idempotent) Begin(context.Context) error {
	p.pending.forget()
	p.failed = make(chan error, 1)
	return nil
}

// Send implements commit.Producer.
func (p *idempotent) Send(output *graph.Output, done func(int64)) {
	record := newRecord(output)
	p.pending.add(record, done)
	log.SetPartition(record, output.Partition)
	failed := p.failed
	p.client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- fmt.Errorf("producing to %s: %w", r.Topic, err):
			default:
			}
		}
	})
}

// Commit implements commit.Producer. A lost answer counts as Aborted: the input is stepped again, at least once.
func (p *idempotent) Commit(ctx context.Context, member commit.Member, offsets []commit.Offset) (commit.Outcome, error) {
	if err := p.client.Flush(ctx); err != nil {
		return commit.Aborted, fmt.Errorf("flushing: %w", err)
	}
	select {
	case err := <-p.failed:
		return commit.Aborted, err
	default:
	}
	p.pending.settle()
	if err := log.OffsetCommit(ctx, p.client, logMember(member), positions(offsets)); err != nil {
		return commit.Aborted, translate(err)
	}
	return commit.Committed, nil
}

// Recover implements commit.Producer: what was not acknowledged in time must not be written later, over what is written by
// then.
func (p *idempotent) Recover(ctx context.Context) error {
	p.pending.forget()
	if err := p.client.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("dropping records that were not acknowledged: %w", err)
	}
	return nil
}

func newRecord(output *graph.Output) *kgo.Record {
	record := &kgo.Record{Topic: output.Topic, Key: output.Key, Value: output.Value, Timestamp: milliTime(output.Timestamp)}
	if n := len(output.Headers); n > 0 {
		record.Headers = make([]kgo.RecordHeader, n)
		for i, header := range output.Headers {
			record.Headers[i] = kgo.RecordHeader{Key: header.Key, Value: header.Value}
		}
	}
	return record
}

func logMember(m commit.Member) log.Member {
	return log.Member{Group: m.Group, MemberID: m.ID, Generation: m.Generation, InstanceID: m.InstanceID}
}

func positions(offsets []commit.Offset) log.Positions {
	to := log.Positions{}
	for _, o := range offsets {
		to.Set(o.Topic, o.Partition, log.Position{Offset: o.Offset, LeaderEpoch: -1, Metadata: o.Metadata})
	}
	return to
}

// translate gives the log's errors their meaning for the commit protocol.
func translate(err error) error {
	switch {
	case errors.Is(err, log.ErrInstanceFenced):
		return errors.Join(commit.ErrInstanceFenced, err)
	case errors.Is(err, log.ErrProducerFenced), errors.Is(err, log.ErrMemberFenced):
		return errors.Join(commit.ErrFenced, err)
	}
	return err
}
