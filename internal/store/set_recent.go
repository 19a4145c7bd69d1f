package store

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// recent are entries in memory, found by their hash: a hash table with open addressing and linear probing. A slot is a part of
// the hash and where the entry is, so that what is not there takes one look at memory. A newer entry hides an older one
// of the same key.
type recent struct {
	count int
	slots []uint64 // upper half of the hash, and the newest entry's place in data + 1; 0 is free. A power of two long
	data  []byte   // for each entry 4 bytes, where the one before of the same half hash begins + 1, and the entry
}

const (
	firstRecent = 1 << 6
	// recentLoad is how many slots there are for an entry at least.
	recentLoad = 2
)

func (r *recent) clear() {
	r.count, r.data = 0, r.data[:0]
	clear(r.slots)
}

// slot returns where the entries of a hash are, or a free place for them. There is one.
func (r *recent) slot(half uint32) *uint64 {
	mask := uint32(len(r.slots) - 1)
	for at := half & mask; ; at = (at + 1) & mask {
		if slot := &r.slots[at]; *slot == 0 || uint32(*slot>>32) == half {
			return slot
		}
	}
}

func (r *recent) grow() {
	old := r.slots
	r.slots = make([]uint64, max(firstRecent, 2*len(old)))
	for _, slot := range old {
		if slot != 0 {
			*r.slot(uint32(slot >> 32)) = slot
		}
	}
}

func (r *recent) add(entries []byte) error {
	for len(entries) > 0 {
		packed, _, rest, err := cutEntry(entries)
		if err != nil {
			return err
		}
		if recentLoad*(r.count+1) > len(r.slots) {
			r.grow()
		}
		half := halfHash(xxhash.Sum64(packed))
		slot := r.slot(half)
		place := uint32(len(r.data))
		r.data = binary.LittleEndian.AppendUint32(r.data, uint32(*slot))
		r.data = append(r.data, entries[:len(entries)-len(rest)]...)
		*slot = uint64(half)<<32 | uint64(place+1)
		r.count++
		entries = rest
	}
	return nil
}

// halfHash is the part of a hash that finds an entry here.
func halfHash(hash uint64) uint32 { return uint32(hash) }

func (r *recent) get(hash uint64, packed []byte) (value []byte, found bool) {
	if len(r.slots) == 0 {
		return nil, false
	}
	for next := uint32(*r.slot(halfHash(hash))); next > 0; {
		at := r.data[next-1:]
		next = binary.LittleEndian.Uint32(at)
		entry, value, _, err := cutEntry(at[4:])
		if err == nil && bytes.Equal(entry, packed) {
			return value, true
		}
	}
	return nil, false
}

// each visits the entries, oldest first.
func (r *recent) each(visit func(entry, packed, value []byte)) {
	for data := r.data; len(data) > 0; {
		data = data[4:]
		packed, value, rest, err := cutEntry(data)
		if err != nil {
			return // they were encoded here
		}
		visit(data[:len(data)-len(rest)], packed, value)
		data = rest
	}
}
