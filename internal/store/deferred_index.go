package store

import "github.com/cespare/xxhash/v2"

// rowIndex finds the last operation on a row among those of a queue: a hash table with open addressing and linear probing.
// A slot is half a hash and half a number, without the key, which is in the queue. Operations that have left the queue stay
// until the table grows; they count as absent.
type rowIndex struct {
	slots []uint64 // hash in the upper half, number in the lower; 0 is free
	used  int
}

const (
	minSlots = 1 << 10
	halfSlot = 32
)

func (x *rowIndex) clear() { x.slots, x.used = nil, 0 }

func rowHash(store string, key []byte) uint32 {
	hash := xxhash.Sum64(key)
	if store != "" {
		hash ^= (uint64(len(store))<<8 | uint64(store[len(store)-1])) * 0x9e3779b97f4a7c15
	}
	return uint32(hash>>32) ^ uint32(hash)
}

// reserve makes room for n more operations, and drops those that have left the queue.
func (x *rowIndex) reserve(n int, d *deferred) {
	if (x.used+n)*2 <= len(x.slots) {
		return
	}
	old, oldest := x.slots, uint32(d.oldest())
	kept := 0
	for _, slot := range old {
		if slot != 0 && uint32(slot) >= oldest {
			kept++
		}
	}
	size := max(minSlots, len(old))
	for size < (kept+n)*2 || size < kept*4 {
		size *= 2
	}
	x.slots, x.used = make([]uint64, size), kept
	for _, slot := range old {
		if slot != 0 && uint32(slot) >= oldest {
			at := x.home(uint32(slot >> halfSlot))
			for x.slots[at] != 0 {
				at = x.after(at)
			}
			x.slots[at] = slot
		}
	}
}

func (x *rowIndex) home(hash uint32) uint32 { return hash & uint32(len(x.slots)-1) }

func (x *rowIndex) after(at uint32) uint32 { return (at + 1) & uint32(len(x.slots)-1) }

// put notes the operation of a number, which is the last one on its row. There is room: see reserve.
func (x *rowIndex) put(store string, key []byte, number uint64, d *deferred) {
	hash := rowHash(store, key)
	at := x.home(hash)
	for ; x.slots[at] != 0; at = x.after(at) {
		if x.is(x.slots[at], hash, store, key, d) {
			x.slots[at] = uint64(hash)<<halfSlot | number
			return
		}
	}
	x.slots[at] = uint64(hash)<<halfSlot | number
	x.used++
}

// find returns the number of the last operation on a row.
func (x *rowIndex) find(store string, key []byte, d *deferred) (number uint64, found bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	hash := rowHash(store, key)
	for at := x.home(hash); x.slots[at] != 0; at = x.after(at) {
		if x.is(x.slots[at], hash, store, key, d) {
			return x.slots[at] & (1<<halfSlot - 1), true
		}
	}
	return 0, false
}

// is tells whether a slot is that of a row.
func (x *rowIndex) is(slot uint64, hash uint32, store string, key []byte, d *deferred) bool {
	number := slot & (1<<halfSlot - 1)
	if uint32(slot>>halfSlot) != hash || number < d.oldest() {
		return false
	}
	inStore, itsKey, _, _ := d.operation(number)
	return inStore == store && string(itsKey) == string(key)
}
