package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// Up to viewQueueChanges and viewQueueBytes a reader that is not ready keeps every change; beyond, the latest of each row
	// up to viewQueueMost and viewQueueMostBytes; and beyond that nothing but where it stood.
	viewQueueChanges   = 256
	viewQueueBytes     = 256 << 10
	viewQueueMost      = 4096
	viewQueueMostBytes = 1 << 20

	// viewChunkRows and viewChunkBytes bound what is read of a snapshot at once.
	viewChunkRows  = 256
	viewChunkBytes = 64 << 10
)

// ViewSelection says what a watch is of.
type ViewSelection struct {
	// Key is the one row to watch; nil for all that Prefix selects.
	Key []byte
	// Prefix selects the rows whose keys begin with it. Not to be combined with Key.
	Prefix []byte
	// One restricts Prefix to the rows of Partition.
	One       bool
	Partition int32
	// ChangesOnly leaves out the rows as they are at the beginning.
	ChangesOnly bool
}

// ViewEventKind is what an event of a watch tells.
type ViewEventKind uint8

// The kinds of events.
const (
	// ViewRow is a row as it was when the watch began, or as it is after a change; deleted if its value is nil.
	ViewRow ViewEventKind = iota
	// ViewReset says that what was told so far counts no longer: a snapshot follows.
	ViewReset
	// ViewWhole says that everything has been told up to a moment just now; changes follow.
	ViewWhole
)

// ViewEvent is one event of a watch. Change is nil unless it is a row.
type ViewEvent struct {
	Kind   ViewEventKind
	Change *ViewChange
}

// viewPhase is what a watch is doing.
type viewPhase uint8

const (
	viewBeginning  viewPhase = iota // it has told nothing yet
	viewResuming                    // it looks for the changes after its positions
	viewResetting                   // it is about to take back what it told
	viewSnapshot                    // it tells the rows that there were
	viewCatchingUp                  // it tells the changes since, and then that it is whole
	viewLive
)

// ViewWatch tells the rows that a selection had, and then every change of them, in the order of each partition. It belongs
// to one goroutine and must be closed.
type ViewWatch struct {
	view      *View
	ctx       context.Context
	selection ViewSelection
	slot      int           // where the hub has it; guarded by the hub's mu
	wake      chan struct{} // of capacity 1: look again

	phase     viewPhase
	after     *viewResume // where the client stood; nil once used
	parts     []int32     // the partitions that may have the rows
	positions []int64     // by part: what was told, and consumed, goes up to here
	reached   []int64     // by part: where the events last handed out lead to; nil for no further
	whole     bool        // ViewWhole is among the events handed out
	told      bool        // something, here or before this watch
	placed    bool        // positions tell where to go on
	caught    []*ViewChange
	scan      *ViewScan
	topic     uint32    // identity of the topic that the rows are of
	level     int64     // when they were level with the log, for positions to resume from, in seconds since the epoch
	asked     time.Time // when a position beyond the partition's was first resumed from

	mu     sync.Mutex
	single int32         // guarded by mu: the one partition to watch, or -1
	began  int           // guarded by mu: so many parts are watched
	queue  []*ViewChange // guarded by mu
	bytes  int           // guarded by mu: of the queue
	limit  int           // guarded by mu: the length of the queue at which it is conflated
	most   int           // guarded by mu: and the bytes
	behind bool          // guarded by mu: changes were left out; go on from the positions
	lost   bool          // guarded by mu: rows may have vanished; begin anew
	ended  bool          // guarded by mu
}

// Watch begins a watch; nothing happens before Next. With the id that AppendID gave it goes on there. The error wraps
// ErrViewPosition for an id of another watch.
func (v *View) Watch(ctx context.Context, selection ViewSelection, after string) (*ViewWatch, error) {
	return v.WatchWoken(ctx, selection, after, make(chan struct{}, 1))
}

// WatchWoken is Watch for one of several watches that one goroutine waits for, by NextOf: wake, of capacity 1, is what all of
// them are woken by.
func (v *View) WatchWoken(ctx context.Context, selection ViewSelection, after string, wake chan struct{}) (*ViewWatch, error) {
	w := &ViewWatch{view: v, ctx: ctx, selection: selection, wake: wake, single: -1, told: after != ""}
	resume, err := w.parse(after)
	if err != nil {
		return nil, err
	}
	w.after = resume
	w.forget()
	v.hub.enter(w)
	return w, nil
}

// Close ends the watch.
func (w *ViewWatch) Close() {
	w.view.hub.leave(w)
	w.forget()
	w.closeScan()
}

// Next waits for events. It returns none when the beat came first, and an error when the watch's context has ended or the
// view stopped. By calling it the caller says that it is through with the events it got before.
func (w *ViewWatch) Next(beat <-chan time.Time) ([]ViewEvent, error) {
	for {
		w.consumed()
		events, until, err := w.step()
		if err != nil || len(events) > 0 {
			w.told = true
			return events, err
		}
		select {
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		case <-w.wake:
		case <-until.reached:
		case <-until.expired:
		case <-beat:
			until.stop()
			return nil, nil
		}
		until.stop()
	}
}

// NextOf is Next of two watches that are woken by one channel. It tells which of them the events are of, nil if the beat came first;
// where both have some, first's.
func NextOf(beat <-chan time.Time, first, second *ViewWatch) (which *ViewWatch, events []ViewEvent, err error) {
	for {
		first.consumed()
		second.consumed()
		events, until, err := first.step()
		if err != nil || len(events) > 0 {
			first.told = true
			return first, events, err
		}
		events, also, err := second.step()
		if err != nil || len(events) > 0 {
			until.stop()
			second.told = true
			return second, events, err
		}
		beaten := false
		select {
		case <-first.ctx.Done():
			err = first.ctx.Err()
		case <-second.ctx.Done():
			err = second.ctx.Err()
		case <-first.wake:
		case <-until.reached:
		case <-until.expired:
		case <-also.reached:
		case <-also.expired:
		case <-beat:
			beaten = true
		}
		until.stop()
		also.stop()
		if err != nil || beaten {
			return nil, nil, err
		}
	}
}

// viewUntil is what to wait for beside being woken.
type viewUntil struct {
	reached <-chan struct{}
	expired <-chan time.Time
	done    func()
}

func (u viewUntil) stop() {
	if u.done != nil {
		u.done()
	}
}

// step does what is next. Without an event or an error there is something to wait for.
func (w *ViewWatch) step() ([]ViewEvent, viewUntil, error) {
	lost, behind, ended := w.state()
	switch {
	case ended:
		return nil, viewUntil{}, ErrViewStopped
	case lost:
		w.phase = viewResetting
	case behind && w.phase != viewSnapshot: // which is told to its end first
		w.forget()
		w.phase = viewResuming
	}
	for {
		switch w.phase {
		case viewBeginning:
			if !w.locate() {
				return nil, viewUntil{}, nil
			}
			if w.phase = viewSnapshot; w.after != nil {
				w.phase = viewResuming
			}
		case viewResuming:
			if err := w.here(); err != nil {
				return nil, viewUntil{}, err
			}
			until, outcome := w.resume()
			switch outcome {
			case viewResumed:
				w.placed, w.phase = true, viewCatchingUp
			case viewUnresumable:
				w.phase = viewResetting
			default:
				return nil, until, nil
			}
		case viewResetting:
			w.restart()
			if w.told {
				w.view.hub.resets.Add(1)
				return []ViewEvent{{Kind: ViewReset}}, viewUntil{}, nil
			}
		case viewSnapshot:
			return w.snapshot()
		default:
			return w.take(), viewUntil{}, nil
		}
	}
}

// state returns what others have said of this watch.
func (w *ViewWatch) state() (lost, behind, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost, w.behind, w.ended
}

// locate finds out which partitions may have the rows. It reports false while that is not known.
func (w *ViewWatch) locate() bool {
	v := w.view
	count := v.Partitions()
	if count == 0 {
		return false
	}
	single := int32(-1)
	if w.selection.One {
		single = w.selection.Partition
	} else if w.selection.Key != nil {
		single = v.PartitionOf(w.selection.Key)
	} else if v.config.Partitioner != nil {
		if _, whole := v.config.Partitioner.PartitionPart(w.selection.Prefix); whole {
			single = v.PartitionOf(w.selection.Prefix)
		}
	}
	w.parts = []int32{single}
	if single < 0 {
		w.parts = viewNumbers(int(count))
	}
	w.positions = make([]int64, len(w.parts))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.single = single
	return true
}

// here returns an error if another instance has rows that are watched.
func (w *ViewWatch) here() error {
	if w.selection.One && w.view.partition(w.selection.Partition) == nil {
		return fmt.Errorf("there is no partition %d", w.selection.Partition)
	}
	if !w.view.config.Shared || !w.view.assigned.Load() {
		return nil
	}
	for _, number := range w.parts {
		if p := w.view.partition(number); p != nil && !p.held.Load() {
			return fmt.Errorf("partition %d: %w", number, ErrViewElsewhere)
		}
	}
	return nil
}

// restart goes back to where nothing has been told.
func (w *ViewWatch) restart() {
	w.forget()
	w.closeScan()
	w.after, w.caught, w.placed, w.reached = nil, nil, false, nil
	w.phase = viewBeginning
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = false
}

// forget empties the queue, and has nothing put into it until the parts are begun again.
func (w *ViewWatch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.hub.pending.Add(-int64(w.bytes))
	w.queue, w.bytes, w.limit, w.most, w.began, w.behind = nil, 0, viewQueueChanges, viewQueueBytes, 0, false
}

// take returns the changes that have come, and says when the watch is whole.
func (w *ViewWatch) take() []ViewEvent {
	// The positions first: all changes below them are queued by then. They never go back: a feed that was begun anew at an
	// earlier position tells its watches a moment later, and until then what was told holds.
	reached := slices.Clone(w.positions)
	for i, number := range w.parts {
		if p := w.view.partition(number); p != nil {
			reached[i] = max(reached[i], p.feed.next.Load())
		}
	}
	queue, sound := w.drain()
	if !sound {
		w.stir()
		return nil
	}
	events := make([]ViewEvent, 0, len(w.caught)+len(queue)+1)
	for _, changes := range [][]*ViewChange{w.caught, queue} {
		for _, change := range changes {
			events = append(events, ViewEvent{Kind: ViewRow, Change: change})
			part := w.part(change.Partition)
			reached[part] = max(reached[part], change.Offset+1)
		}
	}
	w.caught, w.reached = nil, reached
	if w.phase == viewCatchingUp {
		w.phase, w.whole = viewLive, true
		events = append(events, ViewEvent{Kind: ViewWhole})
	}
	return events
}

// drain empties the queue. It reports false if what is in it does not follow on what was told.
func (w *ViewWatch) drain() (queue []*ViewChange, sound bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost || w.behind || w.ended {
		return nil, false
	}
	queue = w.queue
	w.view.hub.pending.Add(-int64(w.bytes))
	w.queue, w.bytes, w.limit, w.most = nil, 0, viewQueueChanges, viewQueueBytes
	return queue, true
}

// consumed notes that the events handed out last have been told.
func (w *ViewWatch) consumed() {
	if w.reached != nil {
		copy(w.positions, w.reached)
		w.reached = nil
	}
	if w.whole {
		w.whole, w.placed = false, true
	}
}

func (w *ViewWatch) part(partition int32) int {
	if len(w.parts) == 1 {
		return 0
	}
	return int(partition)
}
