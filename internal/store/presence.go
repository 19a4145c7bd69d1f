package store

import (
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// WithPresence returns an engine that answers reads of absent keys from memory where they are frequent, and otherwise does what
// its base does, which it owns. LevelDB looks for such a key in every file that could have it, at the cost of a microsecond
// or two each: three quarters of what creating a row costs where there are millions.
//
// A store gets a filter of its keys once so many reads have found nothing that reading the whole store costs no more than they
// did; that is done in the background. It is kept in memory only, 12 to 24 bits a key, up to the given number of bytes a
// store. A store with more keys goes on without.
//
// No answer depends on it. A filter is used once it has every key: those that the base had when the scan began, which began
// while nothing was being written, and those of every batch since, added before the base has them. Keys that are deleted stay
// in it.
func WithPresence(base Engine, filterBytes int) Engine {
	return &filtered{Engine: base, limit: filterBytes, least: leastMisses, stores: map[string]*presence{}, stop: make(chan struct{})}
}

// filtered is the Engine of WithPresence.
type filtered struct {
	Engine
	limit int   // bytes of a filter
	least int64 // misses that a filter takes

	// writing is held while a batch is applied or a store deleted, and for the instant in which a scan begins or ends.
	writing sync.Mutex

	mu     sync.RWMutex
	stores map[string]*presence // guarded by mu
	closed bool                 // guarded by mu
	stop   chan struct{}        // closed with the engine: ends scans
	scans  sync.WaitGroup
}

// presence is what is known of a store's keys.
type presence struct {
	misses   atomic.Int64
	wanted   atomic.Int64              // misses at which a scan is considered
	scanning atomic.Bool               // one is considered or under way, or there is not to be one
	filter   atomic.Pointer[keyFilter] // nil if there is none; changed under writing
}

const (
	// leastMisses are the reads of absent keys that make a filter worth its memory.
	leastMisses = 1024
	// scanBytes are the bytes of a store that are read in the time of such a read.
	scanBytes = 4096
	// scanStep is how many rows a scan reads until it looks whether it should end.
	scanStep = 256
)

func (e *filtered) of(store string) (p *presence, closed bool) {
	e.mu.RLock()
	p, closed = e.stores[store], e.closed
	e.mu.RUnlock()
	if p != nil || closed {
		return p, closed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p = e.stores[store]; p == nil {
		p = &presence{}
		p.wanted.Store(e.least)
		e.stores[store] = p
	}
	return p, e.closed
}

// Get implements Engine.
func (e *filtered) Get(store string, key []byte) ([]byte, bool, error) {
	p, closed := e.of(store)
	if closed {
		return nil, false, ErrClosed
	}
	filter := p.filter.Load()
	if filter != nil && filter.ready.Load() {
		if !filter.has(xxhash.Sum64(key)) {
			return nil, false, nil
		}
		return e.Engine.Get(store, key)
	}
	value, found, err := e.Engine.Get(store, key)
	if err == nil && !found && p.misses.Add(1) >= p.wanted.Load() {
		e.consider(store, p)
	}
	return value, found, err
}

// consider starts a scan if reads of absent keys have cost as much.
func (e *filtered) consider(store string, p *presence) {
	if !p.scanning.CompareAndSwap(false, true) {
		return
	}
	size, err := e.Engine.Size(store)
	if wanted := e.least + size/scanBytes; err != nil || p.misses.Load() < wanted {
		p.wanted.Store(max(wanted, p.wanted.Load()+e.least))
		p.scanning.Store(false)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.scans.Go(func() { e.scan(store, p) })
	}
}

// scan makes the filter of a store.
func (e *filtered) scan(store string, p *presence) {
	filter := newKeyFilter(e.limit)
	e.writing.Lock()
	p.filter.Store(filter) // what is written from now on is added
	rows := e.Engine.Range(store, nil, nil, false)
	e.writing.Unlock()

	whole := e.addAll(filter, rows)
	err := rows.Close() // who reads the rows finds the same damage, and reports it

	e.writing.Lock()
	defer e.writing.Unlock()
	switch {
	case p.filter.Load() != filter: // the store was deleted, or has too many keys
	case whole && err == nil:
		filter.ready.Store(true)
	default:
		p.filter.Store(nil)
	}
}

// addAll adds the keys of all rows, and reports whether it came to their end.
func (e *filtered) addAll(filter *keyFilter, rows Iterator) bool {
	for n := 0; rows.Next(); n++ {
		if n%scanStep == 0 {
			select {
			case <-e.stop:
				return false
			default:
			}
		}
		if !filter.add(xxhash.Sum64(rows.Key())) {
			return false
		}
	}
	return true
}

// Apply implements Engine.
func (e *filtered) Apply(batch *Batch) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.note(batch)
	return e.Engine.Apply(batch)
}

// note adds the keys of a batch to the filters of their stores.
func (e *filtered) note(batch *Batch) {
	var room [8]*presence
	stores, some := room[:0], false
	e.mu.RLock()
	for _, name := range batch.stores {
		p := e.stores[name]
		stores, some = append(stores, p), some || p != nil && p.filter.Load() != nil
	}
	e.mu.RUnlock()
	if !some {
		return
	}
	start := uint32(0)
	for i := range batch.operations {
		op := &batch.operations[i]
		key := batch.data[start:op.keyEnd]
		start = op.valueEnd
		p := stores[op.store]
		if p == nil || op.delete {
			continue
		}
		if filter := p.filter.Load(); filter != nil && !filter.add(xxhash.Sum64(key)) {
			p.filter.Store(nil) // and as scanning stays set, there is no other
		}
	}
}

// DeleteStore implements Engine.
func (e *filtered) DeleteStore(store, changelog string) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	if p := e.stores[store]; p != nil {
		p.filter.Store(nil) // a scan under way finds that it was in vain
		delete(e.stores, store)
	}
	e.mu.Unlock()
	return e.Engine.DeleteStore(store, changelog)
}

// Close implements Engine.
func (e *filtered) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.stop)
	}
	e.mu.Unlock()
	e.scans.Wait()
	return e.Engine.Close()
}
