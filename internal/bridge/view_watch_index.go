package bridge

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrViewStopped ends the watches of a view that stops.
var ErrViewStopped = errors.New("the view has stopped")

// viewPendingBytes bounds what all watches of a view together have queued for their readers.
const viewPendingBytes = 64 << 20

// viewHub knows who watches what. A change costs a look-up by its key, and one for each length that a watched prefix has.
type viewHub struct {
	active atomic.Bool // there has been a watch: changes are kept from then on

	mu       sync.RWMutex
	keys     map[string][]*ViewWatch // guarded by mu
	prefixes map[string][]*ViewWatch // guarded by mu
	lengths  []int                   // guarded by mu: of the watched prefixes, ascending
	sharing  map[int]int             // guarded by mu: how many watched prefixes have a length
	ended    bool                    // guarded by mu: the view has stopped

	open      atomic.Int64
	pending   atomic.Int64 // bytes queued for readers
	conflated atomic.Uint64
	resets    atomic.Uint64
}

func newViewHub() *viewHub {
	return &viewHub{keys: make(map[string][]*ViewWatch), prefixes: make(map[string][]*ViewWatch), sharing: make(map[int]int)}
}

// deliver offers changes to those who watch them. The caller holds the feed's mu.
func (h *viewHub) deliver(changes []*ViewChange) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, change := range changes {
		for _, w := range h.keys[string(change.Key)] {
			w.offer(change)
		}
		for _, length := range h.lengths {
			if length > len(change.Key) {
				break
			}
			for _, w := range h.prefixes[string(change.Key[:length])] {
				w.offer(change)
			}
		}
	}
}

// enter registers a watch, which is offered nothing before it has begun with a partition.
func (h *viewHub) enter(w *ViewWatch) {
	h.active.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Add(1)
	if h.ended {
		w.end()
	}
	index, name := h.place(w)
	w.slot = len(index[name])
	index[name] = append(index[name], w)
	if w.selection.Key != nil {
		return
	}
	length := len(name)
	if h.sharing[length]++; h.sharing[length] == 1 {
		at, _ := slices.BinarySearch(h.lengths, length)
		h.lengths = slices.Insert(h.lengths, at, length)
	}
}

// leave takes a watch out.
func (h *viewHub) leave(w *ViewWatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open.Add(-1)
	index, name := h.place(w)
	watches := index[name]
	last := watches[len(watches)-1]
	watches[w.slot], last.slot = last, w.slot
	watches[len(watches)-1] = nil
	if watches = watches[:len(watches)-1]; len(watches) > 0 {
		index[name] = watches
	} else {
		delete(index, name)
	}
	if w.selection.Key != nil {
		return
	}
	length := len(name)
	if h.sharing[length]--; h.sharing[length] == 0 {
		delete(h.sharing, length)
		at, _ := slices.BinarySearch(h.lengths, length)
		h.lengths = slices.Delete(h.lengths, at, at+1)
	}
}

// place returns where a watch is registered.
func (h *viewHub) place(w *ViewWatch) (index map[string][]*ViewWatch, name string) {
	if w.selection.Key != nil {
		return h.keys, string(w.selection.Key)
	}
	return h.prefixes, string(w.selection.Prefix)
}

// each calls f for every watch.
func (h *viewHub) each(f func(*ViewWatch)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, index := range []map[string][]*ViewWatch{h.keys, h.prefixes} {
		for _, watches := range index {
			for _, w := range watches {
				f(w)
			}
		}
	}
}

// stir has all watches look again at what they wait for.
func (h *viewHub) stir() { h.each((*ViewWatch).stir) }

// lose tells the watches of a partition, or of all for -1, that rows may vanish without a change to tell.
func (h *viewHub) lose(number int32) {
	h.each(func(w *ViewWatch) { w.lose(number) })
}

// stop ends all watches, and those to come until start.
func (h *viewHub) stop() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.each((*ViewWatch).end)
}

// start lets watches begin again.
func (h *viewHub) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = false
}

// ViewWatchStatus counts what watches do.
type ViewWatchStatus struct {
	// Open is the number of watches now.
	Open int64
	// PendingBytes is what is queued for readers that are behind.
	PendingBytes int64
	// Conflated counts changes that were left out because a later one of the same row was there when the reader was
	// ready; Resets the watches that had to begin anew with a snapshot.
	Conflated, Resets uint64
}

// WatchStatus returns how the watches are doing.
func (v *View) WatchStatus() ViewWatchStatus {
	return ViewWatchStatus{
		Open: v.hub.open.Load(), PendingBytes: v.hub.pending.Load(), Conflated: v.hub.conflated.Load(), Resets: v.hub.resets.Load(),
	}
}

// EndWatches ends all watches with ErrViewStopped, and those begun later while the view runs: before a server that waits
// for its streams is shut down.
func (v *View) EndWatches() { v.hub.stop() }
