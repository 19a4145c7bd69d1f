package topology

import (
	"bytes"
	"math/bits"
	"reflect"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// cache keeps decoded values of a store by the key's bytes, so that a hot key costs a look at memory. It holds at most the
// bytes it is given, in two generations: a full young one becomes the old one, and what is used again is carried over. So
// rows that fit into half of it, used in whatever order, are never read again.
//
// Only values without pointers into shared memory are kept (flat): anything else could be changed in place by a user's
// function, and the change would be seen although it was never put.
type cache[V any] struct {
	limit      int // bytes of a generation
	texts      bool
	young, old *generation[V]
}

// generation is a hash table by open addressing. Its parts hold no pointers where V has none, so that the garbage collector
// need not look through them.
type generation[V any] struct {
	slots   []uint32 // an entry's index + 1; 0 is free. A power of two long
	entries []cached[V]
	keys    []byte
	texts   int // bytes that the values refer to
}

type cached[V any] struct {
	hash  uint32
	size  uint32 // of the key
	at    uint32 // of the key, in keys
	texts uint32 // bytes that the value refers to
	gone  bool
	value V
}

// firstSlots is how long the table of an empty generation is.
const firstSlots = 64

// maxCache bounds a cache, so that places in it need 32 bits. In bytes.
const maxCache = 1 << 31

// newCache returns a cache of so many bytes for V, or nil if its values must not be shared. A nil cache misses always.
func newCache[V any](limit int) *cache[V] {
	t := reflect.TypeFor[V]()
	if !flat(t) {
		return nil
	}
	return &cache[V]{limit: min(limit, maxCache) / 2, texts: hasText(t), young: &generation[V]{}, old: &generation[V]{}}
}

func (c *cache[V]) get(key []byte) (value V, ok bool) {
	if c == nil {
		return value, false
	}
	hash := uint32(xxhash.Sum64(key))
	if row := c.young.find(hash, key); row != nil {
		return row.value, !row.gone
	}
	row := c.old.find(hash, key)
	if row == nil || row.gone {
		return value, false
	}
	value = row.value
	c.keep(key, cached[V]{hash: hash, texts: row.texts, value: value})
	return value, true
}

// put keeps a value. encoded is how many bytes its encoding has: about what its texts take.
func (c *cache[V]) put(key []byte, value V, encoded int) {
	if c == nil {
		return
	}
	hash := uint32(xxhash.Sum64(key))
	if row := c.young.find(hash, key); row != nil {
		row.value, row.gone = value, false
		return
	}
	entry := cached[V]{hash: hash, value: value}
	if c.texts {
		entry.texts = uint32(encoded)
	}
	c.keep(key, entry)
}

// keep puts a row that is not there into the young generation.
func (c *cache[V]) keep(key []byte, entry cached[V]) {
	if c.young.bytes() >= c.limit {
		c.young, c.old = c.old, c.young
		c.young.clear()
	}
	c.young.add(key, entry)
}

func (c *cache[V]) remove(key []byte) {
	if c == nil {
		return
	}
	hash := uint32(xxhash.Sum64(key))
	for _, g := range [...]*generation[V]{c.young, c.old} {
		if row := g.find(hash, key); row != nil {
			var zero V
			row.value, row.gone = zero, true
		}
	}
}

// evict forgets everything.
func (c *cache[V]) evict() {
	if c == nil {
		return
	}
	c.young.clear()
	c.old.clear()
}

// len returns how many rows are there, of which the old generation may have some again.
func (c *cache[V]) len() int { return len(c.young.entries) + len(c.old.entries) }

func (g *generation[V]) bytes() int {
	return len(g.keys) + g.texts + len(g.entries)*int(unsafe.Sizeof(cached[V]{})) + 4*len(g.slots)
}

// clear empties the generation and keeps its memory.
func (g *generation[V]) clear() {
	clear(g.slots)
	clear(g.entries)
	g.entries, g.keys, g.texts = g.entries[:0], g.keys[:0], 0
}

func (g *generation[V]) find(hash uint32, key []byte) *cached[V] {
	if len(g.entries) == 0 {
		return nil
	}
	mask := uint32(len(g.slots) - 1)
	for i := hash & mask; g.slots[i] != 0; i = (i + 1) & mask {
		entry := &g.entries[g.slots[i]-1]
		if entry.hash == hash && bytes.Equal(g.keys[entry.at:entry.at+entry.size], key) {
			return entry
		}
	}
	return nil
}

// add appends a row that is not there.
func (g *generation[V]) add(key []byte, entry cached[V]) {
	if 4*(len(g.entries)+1) > 3*len(g.slots) {
		g.grow()
	}
	entry.size, entry.at = uint32(len(key)), uint32(len(g.keys))
	g.entries = append(g.entries, entry)
	g.keys = append(g.keys, key...)
	g.texts += int(entry.texts)
	g.insert(len(g.entries))
}

func (g *generation[V]) grow() {
	g.slots = make([]uint32, max(firstSlots, 1<<bits.Len(uint(len(g.slots)))))
	for i := range g.entries {
		g.insert(i + 1)
	}
}

// insert puts the n-th entry, counted from 1, into the table.
func (g *generation[V]) insert(n int) {
	mask := uint32(len(g.slots) - 1)
	i := g.entries[n-1].hash & mask
	for g.slots[i] != 0 {
		i = (i + 1) & mask
	}
	g.slots[i] = uint32(n)
}

// flat tells whether a copy of a value shares nothing that can be changed.
func flat(t reflect.Type) bool {
	if t == reflect.TypeFor[time.Time]() {
		return true // its location is never changed
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}

// hasText tells whether a flat type refers to bytes beside its own.
func hasText(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Array:
		return hasText(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasText(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
