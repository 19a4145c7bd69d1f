package topology

import (
	"reflect"
	"time"
)

// cache keeps decoded values of a store by the key's bytes, so that a hot key costs a map look-up. It holds at most twice
// its limit: a full young generation becomes the old one, and what is used again is carried over.
//
// Only values without pointers into shared memory are kept (flat): anything else could be changed in place by a user's
// function, and the change would be seen although it was never put.
type cache[V any] struct {
	limit      int
	young, old map[string]*V // pointers, so that a known key is updated without copying its bytes again
}

// newCache returns a cache for V, or nil if its values must not be shared. A nil cache misses always.
func newCache[V any](limit int) *cache[V] {
	if !flat(reflect.TypeFor[V]()) {
		return nil
	}
	return &cache[V]{limit: limit, young: map[string]*V{}}
}

func (c *cache[V]) get(key []byte) (value V, ok bool) {
	if c == nil {
		return value, false
	}
	if row := c.young[string(key)]; row != nil {
		return *row, true
	}
	row := c.old[string(key)]
	if row == nil {
		return value, false
	}
	c.keep(string(key), row)
	return *row, true
}

func (c *cache[V]) put(key []byte, value V) {
	switch {
	case c == nil:
	case c.young[string(key)] != nil:
		*c.young[string(key)] = value
	default:
		c.add(key, value)
	}
}

func (c *cache[V]) add(key []byte, value V) { c.keep(string(key), &value) }

// keep puts a row that is not there into the young generation.
func (c *cache[V]) keep(key string, row *V) {
	if len(c.young) >= c.limit {
		c.young, c.old = make(map[string]*V, c.limit), c.young
	}
	c.young[key] = row
}

func (c *cache[V]) remove(key []byte) {
	if c == nil {
		return
	}
	delete(c.young, string(key))
	delete(c.old, string(key))
}

// evict forgets everything.
func (c *cache[V]) evict() {
	if c == nil {
		return
	}
	c.young, c.old = map[string]*V{}, nil
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
