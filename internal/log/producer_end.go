package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/settle"
)

// End ends the transaction. With commit it flushes first, and aborts instead if
// a record or the offsets failed, which the error then tells. The error is nil
// only if what was asked for happened. After an error call Reinit before the
// next Begin, unless it is ErrProducerFenced or ErrInstanceFenced: then another
// process may have the id, and Reinit would take it away from that one.
//
// A transaction without records and offsets ends without a request.
func (p *TxnProducer) End(ctx context.Context, commit bool) (Outcome, error) {
	t := p.txn
	if t == nil {
		return Aborted, ErrNotInTransaction
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	if commit {
		if err := p.Flush(ctx); err != nil {
			return Aborted, errors.Join(err, p.abort(ctx))
		}
		return p.commit(ctx)
	}
	return Aborted, p.abort(ctx)
}

func (p *TxnProducer) commit(ctx context.Context) (Outcome, error) {
	defer p.forget()
	doing := "committing transaction " + p.id
	if !p.txn.produced.Load() {
		return p.endOffsetsOnly(ctx, doing, true)
	}
	who, err := p.identity(ctx)
	if err != nil {
		p.ready = false
		p.doubt()
		return Aborted, explain(doing, err) // nothing was sent
	}
	if err = p.endTransaction(ctx, kgo.TryCommit); err == nil {
		p.beginWatch(p.txn.sent())
		return Committed, nil
	}
	p.ready = false
	p.doubt()
	if errors.Is(err, kerr.OperationNotAttempted) || errors.Is(err, kerr.TransactionAbortable) {
		// No commit was carried out, and Reinit's fencing aborts.
		return Aborted, explain(doing, err)
	}
	p.ledger.Unanswered(settle.Producer{ID: who.ID, Epoch: who.Epoch}, !p.implicit)
	return Unknown, explain(doing, err)
}

func (p *TxnProducer) endTransaction(ctx context.Context, how kgo.TransactionEndTry) error {
	cl := p.cl
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, cl.EndTransaction(ctx, how) })
	return err
}

// endOffsetsOnly ends a transaction without records, of which franz-go knows
// nothing, by a request of our own.
func (p *TxnProducer) endOffsetsOnly(ctx context.Context, doing string, commit bool) (Outcome, error) {
	outcome := Aborted
	if commit {
		outcome = Committed
	}
	// franz-go has sent nothing, so this only makes it ready for the next one.
	if err := p.endTransaction(ctx, kgo.TryAbort); err != nil {
		p.ready = false
		return Aborted, explain(doing, err)
	}
	if !p.txn.offsets.Load() {
		return outcome, nil
	}
	who, err := p.identity(ctx)
	if err == nil {
		err = p.connectPlain()
	}
	if err != nil {
		p.ready = false
		p.doubt()
		return Aborted, explain(doing, err) // nothing was sent
	}
	if err := endTxn(ctx, p.plain, who, commit); err != nil {
		p.ready = false
		p.doubt()
		if commit {
			outcome = Unknown
			p.ledger.Unanswered(settle.Producer{ID: who.ID, Epoch: who.Epoch}, true)
		}
		return outcome, explain(doing, err)
	}
	if commit {
		p.beginWatch(p.txn.sent())
	}
	return outcome, nil
}

// connectPlain makes the client for requests that leave the producer's epoch as it is. It sends each once: one that is sent again
// where the first is only late would find the next transaction under the same epoch.
func (p *TxnProducer) connectPlain() error {
	if p.plain != nil {
		return nil
	}
	opts, err := p.cfg.ClientOptions()
	if err != nil {
		return err
	}
	old := spoken()
	old.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	old.SetMaxKeyVersion(kmsg.AddPartitionsToTxn.Int16(), 3) // the last that is the clients'
	if !p.implicit {
		old.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	}
	opts = append(opts, kgo.MaxVersions(old), kgo.RequestRetries(0))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	p.plain = cl
	return nil
}

// abort ends the transaction without a trace. Where something failed in it the
// id is initialised again, which aborts whatever the broker has of it: franz-go
// may not know what that is. No commit was sent, so it can never be committed.
func (p *TxnProducer) abort(ctx context.Context) error {
	doing := "aborting transaction " + p.id
	p.txn.stop()
	p.doubt()
	if err := p.txn.failed(); err != nil {
		p.forget()
		if p.ready = false; errors.Is(err, ErrProducerFenced) || errors.Is(err, ErrInstanceFenced) {
			return explain(doing, err)
		}
		return p.Init(ctx)
	}
	if p.txn.offsets.Load() {
		// Where no record has reached the broker yet, franz-go would send nothing,
		// and the offsets would stay undecided. Init also sees to it that they
		// do not become those of the next transaction.
		p.forget()
		return p.Init(ctx)
	}
	defer p.forget()
	if err := p.cl.AbortBufferedRecords(ctx); err != nil {
		p.ready = false
		return explain(doing, err)
	}
	err := p.endTransaction(ctx, kgo.TryAbort)
	if err == nil && p.txn.produced.Load() {
		err = p.ledger.Aborted(ctx)
	}
	if err != nil {
		p.ready = false
		p.doubt()
		return explain(doing, err)
	}
	return nil
}

// doubt notes that the open transaction, if it has anything in it, does not end as it should.
func (p *TxnProducer) doubt() {
	if p.txn != nil && (p.txn.produced.Load() || p.txn.offsets.Load()) {
		p.ledger.Doubt()
	}
}

func (p *TxnProducer) forget() {
	if p.txn != nil {
		p.txn.stop()
		p.txn = nil
	}
}
