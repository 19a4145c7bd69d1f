package bridge

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/transact"
)

// idempotent is a commit.Producer without transactions: at least once. Records are flushed before the offsets are
// committed, so that a crash between the two repeats them.
type idempotent struct {
	client  *kgo.Client
	pending transact.Pending
	failed  chan error // the first record's error; has room for one
}

// Begin implements commit.Producer.
func (p *idempotent) Begin(context.Context) error {
	p.pending.Forget()
	p.failed = make(chan error, 1)
	return nil
}

// Send implements commit.Producer.
func (p *idempotent) Send(output *graph.Output, done func(int64)) {
	record := transact.NewRecord(output)
	p.pending.Add(record, done)
	log.SetPartition(record, output.Partition)
	if output.Partition == graph.PartitionByKey && output.PartitionKey != nil {
		log.SetPartitionKey(record, output.PartitionKey)
	}
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
	p.pending.Settle()
	if err := log.OffsetCommit(ctx, p.client, transact.LogMember(member), transact.Positions(offsets)); err != nil {
		return commit.Aborted, transact.Translate(err)
	}
	return commit.Committed, nil
}

// Recover implements commit.Producer: what was not acknowledged in time must not be written later, over what is written by
// then.
func (p *idempotent) Recover(ctx context.Context) error {
	p.pending.Forget()
	if err := p.client.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("dropping records that were not acknowledged: %w", err)
	}
	return nil
}
