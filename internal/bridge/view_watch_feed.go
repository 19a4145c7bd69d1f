package bridge

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// viewRecentBytes is what ViewConfig.RecentBytes stands for when it is 0.
	viewRecentBytes = 8 << 20
	// viewChangeBytes is what a change takes up beside its key and value, roughly.
	viewChangeBytes = 128
)

// ViewChange is one change of one row. It is shared by all who watch the row, and nobody modifies it.
type ViewChange struct {
	Partition int32
	// Offset is that of the change in the changelog; -1 for a row of a snapshot.
	Offset int64
	Key    []byte
	// Value is nil for a row that was deleted.
	Value []byte
	// Rendered is for whoever reads the change to leave what was made of it for the next one.
	Rendered atomic.Pointer[ViewRendered]
}

// ViewRendered is what a reader made of a change. Readers of another owner make their own.
type ViewRendered struct {
	Owner any
	Data  []byte
}

func newViewChange(record *kgo.Record) *ViewChange {
	// The client's records share the memory of a whole fetch, which a change must not keep alive.
	data := make([]byte, len(record.Key)+len(record.Value))
	copy(data, record.Key)
	copy(data[len(record.Key):], record.Value)
	change := &ViewChange{Partition: record.Partition, Offset: record.Offset, Key: data[:len(record.Key):len(record.Key)]}
	if record.Value != nil {
		change.Value = data[len(record.Key):]
	}
	return change
}

func (c *ViewChange) size() int { return viewChangeBytes + len(c.Key) + len(c.Value) }

// viewFeed is a partition's side of live queries: the latest changes, and where they end. They are kept from the first
// watch on, and only while the partition can be read.
type viewFeed struct {
	hub   *viewHub
	limit int // bytes of changes to keep

	// mu is held while records are applied and passed on, so that whoever holds it sees rows, position and changes agree.
	mu      sync.Mutex
	changes []*ViewChange // guarded by mu: ascending offsets; an array that was handed out is only ever appended to
	bytes   int           // guarded by mu
	floor   int64         // guarded by mu: every change from this offset on is in changes
	warmed  bool          // guarded by mu: what came before the floor has been asked for

	next atomic.Int64 // every change below is passed on; written with mu held

	warming sync.Mutex // held while the log is read for what came before the floor
}

// pass takes in the records that were applied and passes them on. The caller holds mu, since before applying.
func (f *viewFeed) pass(records []*kgo.Record, next int64, readable bool) {
	if !readable || !f.hub.active.Load() {
		f.restart(next)
		return
	}
	first := len(f.changes)
	for _, record := range records {
		if record.Attrs.IsControl() || record.Key == nil {
			continue
		}
		change := newViewChange(record)
		f.changes = append(f.changes, change)
		f.bytes += change.size()
	}
	f.hub.deliver(f.changes[first:])
	f.next.Store(next)
	f.trim()
}

// trim lets go of the oldest changes beyond the limit. The caller holds mu.
func (f *viewFeed) trim() {
	gone := 0
	for f.bytes > f.limit && gone < len(f.changes) {
		f.bytes -= f.changes[gone].size()
		f.floor = f.changes[gone].Offset + 1
		gone++
	}
	f.changes = f.changes[gone:] // appending moves them to a new array now and then, which lets the old one go
}

// restart forgets all changes and begins at a position. The caller holds mu.
func (f *viewFeed) restart(next int64) {
	f.changes, f.bytes, f.floor, f.warmed = nil, 0, next, false
	f.next.Store(next)
}

// since returns the changes from an offset on, if all of them are known. The caller holds mu and modifies nothing.
func (f *viewFeed) since(offset int64) (changes []*ViewChange, known bool) {
	if offset < f.floor {
		return nil, false
	}
	i := sort.Search(len(f.changes), func(i int) bool { return f.changes[i].Offset >= offset })
	return f.changes[i:len(f.changes):len(f.changes)], true
}

// precede puts older changes before the ones known, if nothing else has happened to the floor meanwhile.
func (f *viewFeed) precede(older []*ViewChange, from, floor int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.floor != floor || f.warmed {
		return
	}
	f.warmed = true
	if older == nil {
		return
	}
	for _, change := range older {
		f.bytes += change.size()
	}
	f.changes = append(older, f.changes...)
	f.floor = from
	f.trim()
}
