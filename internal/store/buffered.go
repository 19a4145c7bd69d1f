package store

import (
	"encoding/binary"
	"sync"
)

// bufferedBytes estimates how many bytes of each store are in LevelDB's write buffers, which it leaves out of its own
// measure: small stores would have no size at all. Rows overwritten in the buffer count twice.
type bufferedBytes struct {
	mu      sync.Mutex
	active  map[uint64]int64 // in the buffer being filled, by number of the store; guarded by mu
	frozen  map[uint64]int64 // in the buffer being written to a file; guarded by mu
	created int64            // journals created when active was begun; guarded by mu
	kept    int64            // journals there are when no buffer is frozen
}

// reset starts over after the guard's store was opened: everything is in files then.
func (b *bufferedBytes) reset(g *guard) {
	b.created = g.created.Load()
	b.kept = b.created - g.removed.Load()
	b.active, b.frozen = map[uint64]int64{}, map[uint64]int64{}
}

// add counts the bytes of a batch, by number of the store.
func (b *bufferedBytes) add(g *guard, bytes []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if created := g.created.Load(); created != b.created {
		b.created = created
		b.active, b.frozen = b.frozen, b.active
		clear(b.active)
	}
	for number, n := range bytes {
		if n > 0 {
			b.active[uint64(number)] += n
		}
	}
}

// forget drops the count of a deleted store.
func (b *bufferedBytes) forget(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.active, number)
	delete(b.frozen, number)
}

// of returns the count of the store with the given prefix.
func (b *bufferedBytes) of(g *guard, prefix []byte) int64 {
	number, _ := binary.Uvarint(prefix)
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes := b.active[number]
	if g.created.Load()-g.removed.Load() > b.kept {
		bytes += b.frozen[number]
	}
	return bytes
}
