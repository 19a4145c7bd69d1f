package store

import (
	"sync"
	"sync/atomic"
)

// keyFilter tells of a growing number of keys that one was surely not added: a chain of split block Bloom filters, each for
// twice as many keys as the one before (Almeida et al., "Scalable Bloom Filters", 2007). Any number of goroutines may ask
// while others add.
type keyFilter struct {
	limit int                        // bytes
	parts atomic.Pointer[[]idFilter] // oldest first; a list is not changed. Bits are set and read atomically
	ready atomic.Bool                // every key of the store was added

	mu    sync.Mutex
	bytes int // of all parts; guarded by mu
	left  int // keys that still go into the last part; guarded by mu
	next  int // keys of the next part; guarded by mu
}

const (
	// firstKeys are the keys of the first part.
	firstKeys = 4096
	// keyBits of a filter for each key leave one look-up in 200 to be wrong, in the last part.
	keyBits = 12
)

func newKeyFilter(limit int) *keyFilter {
	f := &keyFilter{limit: limit, next: firstKeys}
	f.parts.Store(new([]idFilter))
	return f
}

// add adds a key's hash. It returns false if that would take more memory than the limit: the filter is of no use any more.
func (f *keyFilter) add(hash uint64) bool {
	if f.has(hash) {
		return true // as a rule it is a row that was written before
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 && !f.grow() {
		return false
	}
	f.left--
	parts := *f.parts.Load()
	block := parts[len(parts)-1].block(hash)
	for i, salt := range filterSalts {
		atomic.OrUint32(&block[i], 1<<(uint32(hash)*salt>>27))
	}
	return true
}

func (f *keyFilter) grow() bool {
	const bytesPerWord = 4
	part := filterWords(f.next * keyBits / filterBits)
	if f.bytes+bytesPerWord*part > f.limit {
		return false
	}
	parts := append([]idFilter(nil), *f.parts.Load()...)
	parts = append(parts, make(idFilter, part))
	f.bytes += bytesPerWord * part
	f.left, f.next = f.next, 2*f.next
	f.parts.Store(&parts)
	return true
}

// has reports false only for what was not added.
func (f *keyFilter) has(hash uint64) bool {
	parts := *f.parts.Load()
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].hasShared(hash) {
			return true
		}
	}
	return false
}

// hasShared is has while others add.
func (f idFilter) hasShared(hash uint64) bool {
	block := f.block(hash)
	for i, salt := range filterSalts {
		if atomic.LoadUint32(&block[i])&(1<<(uint32(hash)*salt>>27)) == 0 {
			return false
		}
	}
	return true
}
