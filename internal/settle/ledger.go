package settle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// The pauses between two questions: doubled from the first up to the longest. markerAttempts is from which on it may be that
// others' open transactions are in the way, and the leaders are asked whose it is.
const (
	markerPause    = time.Millisecond
	settlePause    = 5 * time.Millisecond
	longestPause   = 100 * time.Millisecond
	markerAttempts = 5
)

// Ledger is what is to be looked after of one transactional id. It is for one goroutine at a time, except that Wrote may be
// called by any.
type Ledger struct {
	brokers Brokers

	group      string      // whose offsets it commits
	outputs    []string    // topics that an earlier life may have written to
	doubtful   bool        // a transaction has ended otherwise than by a commit or a clean abort
	unanswered *unanswered // a commit whose answer is missing
	owes       bool        // records of a commit are to be decided, those on owed
	owed       Places
	stale      bool // the epoch must move on

	mu      sync.Mutex
	written Partitions // what this life has written to, guarded by mu
}

type unanswered struct {
	who     Producer
	plainly bool
}

// New returns an empty one.
func New(brokers Brokers) *Ledger { return &Ledger{brokers: brokers, written: Partitions{}} }

// Covers says where the producer may have written in an earlier life: to these topics, and for this group, if it is not empty.
// Init looks there for what that life has left undecided. Call it before Init.
func (l *Ledger) Covers(group string, outputs ...string) {
	l.group, l.outputs, l.doubtful = group, outputs, true
}

// Doubt says that a transaction does not end as it should, or may not.
func (l *Ledger) Doubt() { l.doubtful = true }

// Commits says that offsets of a group are part of the transaction.
func (l *Ledger) Commits(group string) { l.group = group }

// Unanswered says that the answer to a commit is missing; plainly, how it was asked for (Brokers.EndAgain).
func (l *Ledger) Unanswered(who Producer, plainly bool) {
	l.unanswered = &unanswered{who: who, plainly: plainly}
}

// Wrote says that a record was, or may have been, sent to a partition.
func (l *Ledger) Wrote(topic string, partition int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written.Add(topic, partition)
}

func (l *Ledger) writtenTo() Partitions {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := Partitions{}
	written.AddAll(l.written)
	return written
}

// Init initialises the id. When it returns nil, nothing of the id's past is undecided.
//
// Another process that has the id between the mending and the last initialisation may leave something undecided too. The epoch
// tells: unless it is the next one, Init returns ErrFenced, and is to be called again. (So it does where epochs have come to
// their end and begin anew under another producer id.)
func (l *Ledger) Init(ctx context.Context) error {
	mended, err := l.mend(ctx)
	if err != nil {
		return err
	}
	if err := l.brokers.Initialise(ctx); err != nil {
		return err
	}
	now, err := l.brokers.Identity(ctx)
	if err != nil {
		return err
	}
	if now != (Producer{ID: mended.ID, Epoch: mended.Epoch + 1}) {
		return fmt.Errorf("%w: another process has had the id for a moment; it is initialised again", ErrFenced)
	}
	l.stale = false
	return nil
}

// mend takes the id over, and ends what is undecided of its past. It returns the producer that it did that as.
func (l *Ledger) mend(ctx context.Context) (Producer, error) {
	if err := l.past(ctx); err != nil {
		return Producer{}, err
	}
	who, err := l.brokers.TakeOver(ctx)
	if err != nil {
		return Producer{}, err
	}
	if err := l.settlePast(ctx, who); err != nil {
		return Producer{}, err
	}
	return who, l.settleAborted(ctx, who)
}

// Stale says that the id must be initialised before its next transaction: requests that have ended something undecided may come
// again, late, and would end that transaction, for they leave the epoch as it is.
func (l *Ledger) Stale() bool { return l.stale }

// past looks at what the id's last producer has left, before a new one is initialised. A commit whose answer is missing is
// asked for again, so that it is decided and no late request can decide it. If the last transaction was committed, what is
// undecided now is owed to it; if not, it will be aborted.
func (l *Ledger) past(ctx context.Context) error {
	if err := l.askAgain(ctx); err != nil {
		return err
	}
	last, err := l.brokers.Decided(ctx)
	if err != nil || !last.Committed {
		return err
	}
	where, err := l.everywhere(ctx)
	if err != nil {
		return err
	}
	open, err := l.brokers.Open(ctx, last.ProducerID, where)
	if err == nil && (!open.none() || l.group != "") {
		open.Group = l.group // its marker is written again, asked or not: who has no right to look gets it too
		l.owe(open)
	}
	return err
}

// owe notes that a commit is to be carried out on these places, whatever happens meanwhile.
func (l *Ledger) owe(open Places) {
	if l.owed.Partitions == nil {
		l.owed.Partitions = Partitions{}
	}
	l.owed.Partitions.AddAll(open.Partitions)
	if open.Group != "" {
		l.owed.Group = open.Group
	}
	l.owes = true
}

// pay carries that out.
func (l *Ledger) pay(ctx context.Context, who Producer, open Places) error {
	l.Unanswered(who, true)
	if err := l.settle(ctx, who, true, open); err != nil {
		return err
	}
	l.unanswered, l.owes, l.owed = nil, false, Places{}
	return nil
}

// askAgain asks for a commit whose answer is missing. Where there is none again, the initialisation decides, unless the
// commit was that of a debt.
func (l *Ledger) askAgain(ctx context.Context) error {
	if l.unanswered == nil {
		return nil
	}
	err := l.brokers.EndAgain(ctx, l.unanswered.who, l.unanswered.plainly)
	if err != nil && l.owes && !errors.Is(err, ErrFenced) {
		return err
	}
	l.unanswered = nil
	return nil
}

// settlePast carries out, under the new epoch, what past has found. It comes after the initialisation because somebody else may
// have had the id until then, whose transaction must not be committed. Until it has succeeded the debt is kept: nobody else
// knows of it any more.
func (l *Ledger) settlePast(ctx context.Context, who Producer) error {
	if !l.owes {
		return nil
	}
	// Nobody is asked first: from its end on the coordinator knows again that the last transaction was committed.
	return l.pay(ctx, who, l.owed)
}

// Aborted makes sure that a transaction is undecided nowhere after it was aborted: an abort that the coordinator has answered.
func (l *Ledger) Aborted(ctx context.Context) error {
	if _, err := l.brokers.Decided(ctx); err != nil {
		return err
	}
	who, err := l.brokers.Identity(ctx)
	if err != nil {
		return err
	}
	l.doubtful = false // nothing is on its way any more
	return l.settleAborted(ctx, who)
}

// settleAborted makes sure that nothing of the id's past is undecided once a producer is initialised, or has aborted: what
// still is was aborted.
func (l *Ledger) settleAborted(ctx context.Context, who Producer) error {
	where, err := l.everywhere(ctx)
	if err != nil {
		return err
	}
	open, err := l.brokers.Open(ctx, who.ID, where)
	if err != nil {
		return err
	}
	if open.Partitions == nil {
		open.Partitions = Partitions{}
	}
	if l.doubtful {
		// Records of the failed transaction may still be on their way. A marker of the new epoch lets none of them in.
		for topic, partitions := range l.writtenTo() {
			for partition := range partitions {
				if _, there := where.Partitions[topic][partition]; there {
					open.Partitions.Add(topic, partition)
				}
			}
		}
		open.Group = l.group
	}
	if !open.none() {
		err = l.settle(ctx, who, false, open)
	}
	l.doubtful = l.doubtful && err != nil
	return err
}

// settle ends an empty transaction on these places until none of them has an open one.
func (l *Ledger) settle(ctx context.Context, who Producer, commit bool, open Places) error {
	l.stale = true
	for pause := settlePause; ; pause = min(2*pause, longestPause) {
		if err := l.brokers.Add(ctx, who, open); err != nil {
			return err
		}
		if err := l.end(ctx, who, commit); err != nil {
			return err
		}
		if _, err := l.brokers.Decided(ctx); err != nil {
			return err
		}
		left, err := l.brokers.Open(ctx, who.ID, open)
		if err != nil {
			return err
		}
		if open = left; open.none() {
			return nil
		}
		if err := l.brokers.Pause(ctx, pause); err != nil {
			return fmt.Errorf("%w on %s: %w", ErrUndecided, open, err)
		}
	}
}

// end ends what settle has begun. A commit is asked for until there is an answer: a transaction that is left would be aborted by
// its time-out, with everything that it was to commit.
func (l *Ledger) end(ctx context.Context, who Producer, commit bool) error {
	for {
		err := l.brokers.End(ctx, who, commit)
		if err == nil || !commit || errors.Is(err, ErrFenced) {
			return err
		}
		if ended := l.brokers.Pause(ctx, settlePause); ended != nil {
			return errors.Join(err, ended)
		}
	}
}

// everywhere is all that the producer may have written to, in this life or an earlier one.
func (l *Ledger) everywhere(ctx context.Context) (Places, error) {
	written, all := l.writtenTo(), Places{Partitions: Partitions{}, Group: l.group}
	topics := slices.Concat(slices.Collect(maps.Keys(written)), l.outputs)
	if len(topics) == 0 {
		return all, nil
	}
	slices.Sort(topics)
	existing, err := l.brokers.Existing(ctx, slices.Compact(topics))
	if err != nil {
		return Places{}, err
	}
	for topic := range written {
		if len(existing[topic]) == 0 {
			return Places{}, fmt.Errorf("topic %s, which has been written to, is not to be found", topic)
		}
	}
	for topic, partitions := range existing {
		for partition := range partitions {
			// A record that failed before it had a partition may have left a number that is none.
			if _, wrote := written[topic][partition]; wrote || slices.Contains(l.outputs, topic) {
				all.Partitions.Add(topic, partition)
			}
		}
	}
	return all, nil
}
