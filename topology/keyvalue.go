package topology

import (
	"fmt"
	"iter"
	"slices"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// StoreHandle names a store for Process: see KeyValueStore.
type StoreHandle interface {
	declare(b *Builder, node *graph.Node)
}

// StoreContext is a ProcessorContext of whatever types.
type StoreContext interface {
	task() (*graph.Context, *graph.Node)
	fail(error)
}

// KeyValueHandle declares a store of rows by key. One handle given to several processors is one store.
type KeyValueHandle[K, V any] struct {
	name  string
	key   codec[K]
	value codec[V]
}

// KeyValueStore declares a store for Process: rows by key, in the order of the keys' bytes, backed by a changelog. name is
// mandatory and unique in the application.
func KeyValueStore[K, V any](name string, key codecs.Codec[K], value codecs.Codec[V]) *KeyValueHandle[K, V] {
	return &KeyValueHandle[K, V]{name: name, key: key, value: value}
}

// Describe returns the store's name and codecs. Its changelog, left empty, is named after the application that uses the
// handle: <application>-<name>-changelog.
func (h *KeyValueHandle[K, V]) Describe() (Description[K, V], bool) {
	return Description[K, V]{Store: h.name, Key: h.key, Value: codecs.ForStore(h.value)}, true
}

func (h *KeyValueHandle[K, V]) declare(b *Builder, node *graph.Node) {
	if known, ok := b.handles[h]; ok {
		if !slices.Contains(node.Stores, known) {
			node.Stores = append(node.Stores, known)
		}
		return
	}
	declared := b.store(node, h.name, typesOf[K, V]())
	b.handles[h] = declared
	needsCodec(b, node, h.key, "key of store "+h.name, "give one to KeyValueStore")
	needsCodec(b, node, h.value, "value of store "+h.name, "give one to KeyValueStore")
}

// Open returns the store in a processor's task. It is for the function given to Process.
func (h *KeyValueHandle[K, V]) Open(c StoreContext) *KeyValues[K, V] {
	ctx, node := c.task()
	declared := slices.ContainsFunc(node.Stores, func(s *graph.Store) bool { return s.Name == h.name })
	if !declared {
		c.fail(fmt.Errorf("store %s: %w", h.name, errNotDeclared))
		return &KeyValues[K, V]{}
	}
	opened, err := graph.Instance(ctx, h, func() (*KeyValues[K, V], error) {
		kv := &KeyValues[K, V]{name: h.name, state: ctx.State(h.name), key: h.key, value: codecs.ForStore(h.value), cache: newCache[V](ctx.CacheBytes)}
		ctx.OnEvict(kv.cache.evict)
		return kv, nil
	})
	if err != nil {
		c.fail(err)
		return &KeyValues[K, V]{}
	}
	return &KeyValues[K, V]{
		name: opened.name, state: opened.state, key: opened.key, value: opened.value, cache: opened.cache, node: node, context: c,
	}
}

// KeyValues is a store as a processor sees it: with its own writes of the steps that are not committed yet. Its methods
// return no errors: a store that cannot be read, a row that cannot be decoded or a value that cannot be encoded ends the
// processor's step, whatever the processor returns, and everything done in it is undone.
type KeyValues[K, V any] struct {
	name    string
	node    *graph.Node
	context StoreContext
	state   graph.State
	key     codec[K]
	value   codec[V]
	cache   *cache[V] // shared by all processors of the task

	keyBytes, valueBytes []byte // scratch
}

// Get returns the value of a key and whether there is one.
func (s *KeyValues[K, V]) Get(key K) (value V, found bool) {
	if !s.encodeKey(key) {
		return value, false
	}
	if value, found = s.cache.get(s.keyBytes); found {
		return value, true
	}
	data, found, err := s.state.Get(s.keyBytes)
	if err != nil {
		s.context.fail(err)
		return value, false
	}
	if !found {
		return value, false
	}
	value, ok := decodeRow(s, s.value, data, "value")
	if ok {
		s.cache.put(s.keyBytes, value, len(data))
	}
	return value, ok
}

// Put sets the value of a key. The value is encoded at once: changing it afterwards changes nothing here.
func (s *KeyValues[K, V]) Put(key K, value V) {
	if !s.encodeKey(key) {
		return
	}
	var err error
	if s.valueBytes, err = s.value.Append(s.valueBytes[:0], value); err != nil {
		s.context.fail(encodeError(s.node, fmt.Errorf("store %s: encoding the value: %w", s.name, err)))
		return
	}
	s.state.Put(s.keyBytes, s.valueBytes, nil)
	s.cache.put(s.keyBytes, value, len(s.valueBytes))
}

// Delete removes a key; that there is none is no error.
func (s *KeyValues[K, V]) Delete(key K) {
	if !s.encodeKey(key) {
		return
	}
	s.cache.remove(s.keyBytes)
	s.state.Put(s.keyBytes, nil, nil)
}

// All iterates over all rows in the order of the keys' bytes, as they were when it began.
func (s *KeyValues[K, V]) All() iter.Seq2[K, V] { return s.rows(nil, nil, false) }

// ReverseAll is All from the last key to the first.
func (s *KeyValues[K, V]) ReverseAll() iter.Seq2[K, V] { return s.rows(nil, nil, true) }

// Range iterates over the rows with from <= key < to, by the order of the keys' bytes (Kafka Streams' range includes to;
// here neighbouring ranges do not overlap).
func (s *KeyValues[K, V]) Range(from, to K) iter.Seq2[K, V] { return s.between(from, to, false) }

// ReverseRange is Range from the last key to the first.
func (s *KeyValues[K, V]) ReverseRange(from, to K) iter.Seq2[K, V] { return s.between(from, to, true) }

// Prefix iterates over the rows whose key's bytes begin with the prefix as its codec encodes it.
func (s *KeyValues[K, V]) Prefix[P any](prefix P, codec codecs.Codec[P]) iter.Seq2[K, V] {
	if s.context == nil {
		return func(func(K, V) bool) {}
	}
	from, err := codec.Append(nil, prefix)
	if err != nil {
		s.context.fail(encodeError(s.node, fmt.Errorf("store %s: encoding the prefix: %w", s.name, err)))
		return func(func(K, V) bool) {}
	}
	return s.rows(from, prefixEnd(from), false)
}

func (s *KeyValues[K, V]) between(from, to K, descending bool) iter.Seq2[K, V] {
	if !s.encodeKey(from) {
		return func(func(K, V) bool) {}
	}
	first := slices.Clone(s.keyBytes)
	if !s.encodeKey(to) {
		return func(func(K, V) bool) {}
	}
	return s.rows(first, slices.Clone(s.keyBytes), descending)
}

func (s *KeyValues[K, V]) rows(from, to []byte, descending bool) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if s.context == nil {
			return
		}
		rows := s.state.Range(from, to, descending)
		defer rows.Close()
		for rows.Next() {
			key, ok := decodeRow(s, s.key, rows.Key(), "key")
			if !ok {
				return
			}
			value, ok := decodeRow(s, s.value, rows.Value(), "value")
			if !ok || !yield(key, value) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			s.context.fail(err)
		}
	}
}

// encodeKey leaves the key's bytes in s.keyBytes.
func (s *KeyValues[K, V]) encodeKey(key K) bool {
	if s.context == nil {
		return false // not opened, which has been reported
	}
	var err error
	if s.keyBytes, err = s.key.Append(s.keyBytes[:0], key); err != nil {
		s.context.fail(encodeError(s.node, fmt.Errorf("store %s: encoding the key: %w", s.name, err)))
		return false
	}
	return true
}

// decodeRow decodes a part of a row. That it cannot be is no fault of the record being processed: it ends the task.
func decodeRow[K, V, T any](s *KeyValues[K, V], codec codec[T], data []byte, part string) (T, bool) {
	value, err := codec.Decode(data)
	if err != nil {
		s.context.fail(fmt.Errorf("%s: store %s: decoding the %s of a row: %w", s.node.Name, s.name, part, err))
		return value, false
	}
	return value, true
}

// prefixEnd returns the smallest key above all that begin with the prefix, or nil if there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := slices.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
