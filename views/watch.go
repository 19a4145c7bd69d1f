package views

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
)

// ErrWatchPosition says that a position to resume a watch from is malformed or was given for another key or prefix.
var ErrWatchPosition = bridge.ErrViewPosition

// ErrStopped ends the watches of a view that stops.
var ErrStopped = bridge.ErrViewStopped

// DefaultRecentBytes is what Config.RecentBytes stands for when it is 0.
const DefaultRecentBytes = 8 << 20

// Watch selects the rows to follow. The zero Watch selects all.
type Watch[K any] struct {
	// Key is the one row to follow; nil for all that Prefix selects.
	Key *K
	// Prefix selects the rows whose keys' encodings begin with it. Not to be combined with Key.
	Prefix []byte
	// Partition, where not nil, restricts Prefix to the rows of one partition. In a shared view a watch is of rows that are all
	// on this instance; one of rows on several partitions may end with ErrElsewhere.
	Partition *int32
	// After is a position that Changes.Position returned, to go on from: here or at another instance, before or after a
	// restart. Empty begins with the present rows.
	After string
	// ChangesOnly leaves out the rows as they are: Ready comes at once, and after a Reset too. For whoever reads them otherwise,
	// after Ready.
	ChangesOnly bool
	// Beat, where not 0, is how often a Beat is told while nothing changes.
	Beat time.Duration
}

// ChangeKind says what a change tells.
type ChangeKind uint8

// The kinds of changes.
const (
	// RowPresent is a row's value: at the beginning, or after it was written.
	RowPresent ChangeKind = iota
	// RowDeleted says that there is no row any more.
	RowDeleted
	// Reset says that all that was told counts no longer; the present rows follow.
	Reset
	// Ready says that what was told are the rows as they were together at a moment just now. Changes follow.
	Ready
	// Beat says that nothing has changed, and that Changes.Position may have moved on all the same: whoever keeps it is not
	// far behind when it comes back, while others' rows change.
	Beat
)

// Change is one change of one row, or about all of them.
type Change[K, V any] struct {
	Kind  ChangeKind
	Key   K
	Value V
}

// Changes follows rows. It belongs to one goroutine.
//
//	changes := view.Watch(ctx, views.Watch[string]{Prefix: []byte("a")})
//	for change := range changes.All() {
//		…
//	}
//	return changes.Err()
type Changes[K, V any] struct {
	view  *View[K, V]
	ctx   context.Context
	beat  time.Duration // 0 for none
	inner *bridge.ViewWatch
	rows  bridge.ViewSelection
	at    string
	err   error
}

// Watch tells the rows that w selects as they are, then Ready, and then each change of them from there on, those of one
// row in order. It takes up again at w.After if the changes since are still known, else it begins with Reset.
//
// A reader that does not keep up is told the latest change of each row, and of the others only that they are superseded by
// it; one that stays behind for long gets a Reset. It never holds up the view or other readers. While the view is not
// restored, Watch waits.
//
// What is wrong with w is known at once: Err returns it before All is called.
func (v *View[K, V]) Watch(ctx context.Context, w Watch[K]) *Changes[K, V] {
	c := &Changes[K, V]{view: v, ctx: ctx, beat: w.Beat, at: w.After}
	if c.rows, c.err = v.selection(w); c.err != nil {
		return c
	}
	if err := v.bridge.CheckWatch(c.rows, w.After); err != nil {
		c.err = fmt.Errorf("watching view %s: %w", v.name, err)
	}
	return c
}

// All returns the changes, until the context ends or the view stops. Leaving the loop ends the watch.
func (c *Changes[K, V]) All() iter.Seq[Change[K, V]] {
	return func(yield func(Change[K, V]) bool) {
		if c.err != nil {
			return
		}
		if c.inner, c.err = c.view.bridge.Watch(c.ctx, c.rows, c.at); c.err != nil {
			c.err = fmt.Errorf("watching view %s: %w", c.view.name, c.err)
			return
		}
		defer c.inner.Close()
		var beat <-chan time.Time
		if c.beat > 0 {
			ticker := time.NewTicker(c.beat)
			defer ticker.Stop()
			beat = ticker.C
		}
		for {
			events, err := c.inner.Next(beat)
			if err != nil {
				c.err = fmt.Errorf("watching view %s: %w", c.view.name, err)
				return
			}
			if len(events) == 0 {
				if c.inner.Placed() {
					c.at = string(c.inner.AppendPosition(nil))
				}
				if !yield(Change[K, V]{Kind: Beat}) {
					return
				}
			}
			for _, event := range events {
				change, err := c.change(event)
				if err != nil {
					c.err = err
					return
				}
				c.at = string(c.inner.AppendID(nil, event))
				if !yield(change) {
					return
				}
			}
		}
	}
}

// change decodes an event.
func (c *Changes[K, V]) change(event bridge.ViewEvent) (change Change[K, V], err error) {
	switch event.Kind {
	case bridge.ViewReset:
		change.Kind = Reset
		return change, nil
	case bridge.ViewWhole:
		change.Kind = Ready
		return change, nil
	}
	return c.decoded(event.Change)
}

// decoded decodes a change of a row.
func (c *Changes[K, V]) decoded(from *bridge.ViewChange) (change Change[K, V], err error) {
	if from.Value != nil {
		change.Key, change.Value, err = c.view.decode(from.Key, from.Value)
		return change, err
	}
	change.Kind = RowDeleted
	if change.Key, err = c.view.keys.Decode(from.Key); err != nil {
		return change, fmt.Errorf("%w: the key %q in view %s: %w", ErrDecode, from.Key, c.view.name, err)
	}
	return change, nil
}

// Position returns where the change given out last leads to, for Watch.After.
func (c *Changes[K, V]) Position() string { return c.at }

// Err returns what ended the changes: the context's error, or one that wraps ErrStopped, ErrWatchPosition, ErrElsewhere or
// ErrDecode; nil if the loop was left.
func (c *Changes[K, V]) Err() error { return c.err }

// EndWatches ends all watches with ErrStopped, and those that begin later while the view runs. A server that waits for its
// connections to end calls it before.
func (v *View[K, V]) EndWatches() {
	v.bridge.EndWatches()
	v.connections.stop()
}

// selection translates a watch.
func (v *View[K, V]) selection(w Watch[K]) (s bridge.ViewSelection, err error) {
	if w.Key == nil {
		s.Prefix, s.ChangesOnly = w.Prefix, w.ChangesOnly
		if w.Partition != nil {
			s.One, s.Partition = true, *w.Partition
		}
		return s, nil
	}
	if len(w.Prefix) > 0 {
		return s, fmt.Errorf("watching view %s: a key and a prefix were given; choose one", v.name)
	}
	if w.Partition != nil {
		return s, fmt.Errorf("watching view %s: a key and a partition were given; choose one", v.name)
	}
	s.ChangesOnly = w.ChangesOnly
	if s.Key, err = v.keys.Append([]byte{}, *w.Key); err != nil {
		return s, fmt.Errorf("encoding a key of view %s: %w", v.name, err)
	}
	return s, nil
}
