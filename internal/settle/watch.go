package settle

import (
	"context"
	"errors"
	"fmt"
)

// Watch waits until a transaction that was committed is decided wherever it has something. Where its marker is missing it
// writes another, which makes the id Stale: nobody may use it meanwhile. The id's next transaction must not begin before it has returned nil:
// were it aborted, it would take the records and offsets of this one with it. It ends with ctx.
func (l *Ledger) Watch(ctx context.Context, sent Sent) error {
	where, failed := sent.places(), error(nil)
	if where.none() {
		return nil
	}
	for pause, attempt := markerPause, 1; ; pause, attempt = min(2*pause, longestPause), attempt+1 {
		if err := l.brokers.Pause(ctx, pause); err != nil {
			return errors.Join(fmt.Errorf("%w on %s: %w", ErrUndecided, where, err), failed)
		}
		var decided bool
		if decided, failed = l.look(ctx, sent, where, attempt >= markerAttempts); decided || errors.Is(failed, ErrFenced) {
			return failed
		}
	}
}

// look reports whether a committed transaction is decided. From some attempts on it asks whose it is that is not, and ends it.
func (l *Ledger) look(ctx context.Context, sent Sent, where Places, closely bool) (decided bool, err error) {
	passed, err := l.brokers.Passed(ctx, sent)
	if passed && err == nil {
		l.unanswered, l.owes, l.owed = nil, false, Places{}
	}
	if err != nil || passed || !closely {
		return passed, err
	}
	// What is open by the coordinator's account are markers on their way, or what an attempt of ours has left.
	last, err := l.brokers.Last(ctx)
	if err != nil || last.Open && !l.owes {
		return false, err
	}
	who, err := l.brokers.Identity(ctx)
	if err != nil {
		return false, err
	}
	open, err := l.brokers.Open(ctx, who.ID, where)
	if err != nil || open.none() && !l.owes {
		return err == nil, err
	}
	l.owe(open)
	err = l.pay(ctx, who, l.owed)
	return err == nil, err
}
