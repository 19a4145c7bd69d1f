// Package transact is the transactional producer of the commit protocol: in which order records, offsets and the end of a
// transaction are sent, and what their errors mean. Client is its seam: a log.TxnProducer in production, a simulated one in
// package sim.
package transact

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
)

// Client is a producer under one transactional id; log.TxnProducer says what its methods do.
type Client interface {
	Begin() error
	Produce(record *kgo.Record) error
	ProduceTo(record *kgo.Record, partition int32) error
	ProduceBy(record *kgo.Record, key []byte) error
	Flush(ctx context.Context) error
	CommitOffsets(ctx context.Context, member log.Member, to log.Positions) error
	End(ctx context.Context, commit bool) (log.Outcome, error)
	Reinit(ctx context.Context) error
}

// Producer is a commit.Producer on one transactional id: exactly once.
type Producer struct {
	client  Client
	pending Pending
	records records
}

// New returns a producer on a client that was initialised.
func New(client Client) *Producer { return &Producer{client: client} }

// Pending are the records of a transaction whose offsets are asked for.
type Pending []acknowledgement

type acknowledgement struct {
	record *kgo.Record
	done   func(int64)
}

// Settle tells the offsets once everything is flushed: the client has set them in the records.
func (p *Pending) Settle() {
	for _, a := range *p {
		a.done(a.record.Offset)
	}
	p.Forget()
}

// Forget drops all records.
func (p *Pending) Forget() {
	clear(*p)
	*p = (*p)[:0]
}

// Add adds a record whose offset done wants to know, if it is not nil.
func (p *Pending) Add(record *kgo.Record, done func(int64)) {
	if done != nil {
		*p = append(*p, acknowledgement{record: record, done: done})
	}
}

// Begin implements commit.Producer. After a failure it fails until Recover, which the next session calls once it has joined:
// by then it is known that the id has not gone to another process.
func (t *Producer) Begin(context.Context) error { return Translate(t.client.Begin()) }

// Send implements commit.Producer. What goes wrong with a record is told by Commit.
func (t *Producer) Send(output *graph.Output, done func(int64)) {
	record := t.records.of(output)
	t.pending.Add(record, done)
	switch {
	case output.Partition != graph.PartitionByKey:
		_ = t.client.ProduceTo(record, output.Partition)
	case output.PartitionKey != nil:
		_ = t.client.ProduceBy(record, output.PartitionKey)
	default:
		_ = t.client.Produce(record)
	}
}

// Commit implements commit.Producer. The offsets follow the flushed records: sent beside them they would save a round trip,
// but the coordinator, adding partitions to the transaction for both, answers one of them late (p99 90 ms instead of 10,
// measured on Kafka 4.3).
func (t *Producer) Commit(ctx context.Context, member commit.Member, offsets []commit.Offset) (commit.Outcome, error) {
	err := t.client.Flush(ctx)
	if err == nil {
		err = t.client.CommitOffsets(ctx, LogMember(member), Positions(offsets))
	}
	if err != nil {
		t.pending.Forget()
		t.records.abandon()
		_, endErr := t.client.End(ctx, false)
		return commit.Aborted, Translate(errors.Join(err, endErr))
	}
	t.pending.Settle()
	outcome, err := t.client.End(ctx, true)
	switch outcome {
	case log.Committed:
		t.records.reuse()
		return commit.Committed, nil
	case log.Aborted:
		t.records.abandon()
		return commit.Aborted, Translate(err)
	}
	t.records.abandon()
	return commit.Unknown, Translate(err)
}

// Recover implements commit.Producer.
func (t *Producer) Recover(ctx context.Context) error {
	t.pending.Forget()
	t.records.abandon()
	return Translate(t.client.Reinit(ctx))
}

// NewRecord returns the client's record of an output.
func NewRecord(output *graph.Output) *kgo.Record {
	record := new(kgo.Record)
	fill(record, output)
	return record
}

func fill(record *kgo.Record, output *graph.Output) {
	headers := record.Headers[:0]
	for _, header := range output.Headers {
		headers = append(headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
	}
	*record = kgo.Record{
		Topic: output.Topic, Key: output.Key, Value: output.Value, Headers: headers, Timestamp: time.UnixMilli(output.Timestamp),
	}
}

// records are those of a transaction. Once it is committed, each has been acknowledged and nobody refers to it any more: their
// memory, headers included, serves the next one.
type records struct {
	chunks [][]kgo.Record
	used   int
}

// The records of a chunk, and how many chunks are kept.
const (
	recordChunk = 256
	maxChunks   = 64
)

// of returns the client's record of an output.
func (r *records) of(output *graph.Output) *kgo.Record {
	chunk, at := r.used/recordChunk, r.used%recordChunk
	if chunk == len(r.chunks) {
		if chunk == maxChunks {
			return NewRecord(output)
		}
		r.chunks = append(r.chunks, make([]kgo.Record, recordChunk))
	}
	r.used++
	record := &r.chunks[chunk][at]
	fill(record, output)
	return record
}

// reuse says that the transaction is committed.
func (r *records) reuse() { r.used = 0 }

// abandon leaves the records to whoever may still refer to them: the client of a transaction that failed.
func (r *records) abandon() { *r = records{} }

// LogMember returns the member as the log knows it (rule 4).
func LogMember(m commit.Member) log.Member {
	return log.Member{Group: m.Group, MemberID: m.ID, Generation: m.Generation, InstanceID: m.InstanceID}
}

// Positions returns the offsets as the log knows them.
func Positions(offsets []commit.Offset) log.Positions {
	to := log.Positions{}
	for _, o := range offsets {
		to.Set(o.Topic, o.Partition, log.Position{Offset: o.Offset, LeaderEpoch: -1, Metadata: o.Metadata})
	}
	return to
}

// Translate gives the log's errors their meaning for the commit protocol.
func Translate(err error) error {
	switch {
	case errors.Is(err, log.ErrInstanceFenced):
		return errors.Join(commit.ErrInstanceFenced, err)
	case errors.Is(err, log.ErrProducerFenced), errors.Is(err, log.ErrMemberFenced):
		return errors.Join(commit.ErrFenced, err)
	}
	return err
}
