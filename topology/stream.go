package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Stream is a stream of records, each an event of its own. It is a description: copying it copies nothing but the handle.
type Stream[K, V any] struct {
	builder *Builder
	out     *port[K, V]
	key     codec[K] // nil where an operator has changed the type: what writes the key then names a codec
	value   codec[V] // likewise
	// rekeyed says that the key may have changed since the last topic, so that the record may be on another key's partition.
	rekeyed bool
}

// KeyValue is a key with its value.
type KeyValue[K, V any] struct {
	Key   K
	Value V
}

// WithKey names the codec of the stream's keys, for operators that store or write them.
func (s Stream[K, V]) WithKey(codec codecs.Codec[K]) Stream[K, V] {
	s.key = codec
	return s
}

// WithValue names the codec of the stream's values, for operators that store or write them.
func (s Stream[K, V]) WithValue(codec codecs.Codec[V]) Stream[K, V] {
	s.value = codec
	return s
}

// sameKeys returns the stream behind an operator that leaves the keys alone.
func sameKeys[K, V, W any](s Stream[K, V], out *port[K, W]) Stream[K, W] {
	return Stream[K, W]{builder: s.builder, out: out, key: s.key, value: kept[V, W](s.value), rekeyed: s.rekeyed}
}

// newKeys returns the stream behind an operator that changes the keys.
func newKeys[K, V, L, W any](s Stream[K, V], out *port[L, W]) Stream[L, W] {
	return Stream[L, W]{builder: s.builder, out: out, key: kept[K, L](s.key), value: kept[V, W](s.value), rekeyed: true}
}

// Filter keeps the records for which keep returns true. Tombstones pass.
func (s Stream[K, V]) Filter(keep func(K, V) bool) Stream[K, V] {
	s.out = filter(s.out, "filter", keep, true)
	return s
}

// FilterNot drops the records for which drop returns true. Tombstones pass.
func (s Stream[K, V]) FilterNot(drop func(K, V) bool) Stream[K, V] {
	s.out = filter(s.out, "filterNot", drop, false)
	return s
}

func filter[K, V any](from *port[K, V], operator string, test func(K, V) bool, want bool) *port[K, V] {
	out := stateless(from, operator, func(node *graph.Node, next handler[K, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if !ctx.NullValue {
				ctx.At = node
				if test(key, value) != want {
					return nil
				}
			}
			return next(ctx, key, value)
		}
	})
	from.builder.needs(out.node, test != nil, "its predicate")
	return out
}

// DropTombstones drops the records without a value.
func (s Stream[K, V]) DropTombstones() Stream[K, V] {
	s.out = stateless(s.out, "dropTombstones", func(_ *graph.Node, next handler[K, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				return nil
			}
			return next(ctx, key, value)
		}
	})
	return s
}

// MapValues replaces each value; keys and so partitions stay. Tombstones pass.
func (s Stream[K, V]) MapValues[W any](f func(V) W) Stream[K, W] {
	var withKey func(K, V) W
	if f != nil {
		withKey = func(_ K, value V) W { return f(value) }
	}
	return sameKeys(s, mapValues(s.out, withKey))
}

// MapValuesWithKey replaces each value by what follows from key and value; keys and so partitions stay. Tombstones pass.
func (s Stream[K, V]) MapValuesWithKey[W any](f func(K, V) W) Stream[K, W] {
	return sameKeys(s, mapValues(s.out, f))
}

func mapValues[K, V, W any](from *port[K, V], f func(K, V) W) *port[K, W] {
	out := stateless(from, "mapValues", func(node *graph.Node, next handler[K, W]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			var mapped W
			if !ctx.NullValue {
				ctx.At = node
				mapped = f(key, value)
			}
			return next(ctx, key, mapped)
		}
	})
	from.builder.needs(out.node, f != nil, "its function")
	return out
}

// FlatMapValues replaces each record by one for each of the returned values, under the same key. Tombstones pass.
func (s Stream[K, V]) FlatMapValues[W any](f func(V) []W) Stream[K, W] {
	var withKey func(K, V) []W
	if f != nil {
		withKey = func(_ K, value V) []W { return f(value) }
	}
	return sameKeys(s, flatMapValues(s.out, withKey))
}

// FlatMapValuesWithKey is FlatMapValues with the key at hand.
func (s Stream[K, V]) FlatMapValuesWithKey[W any](f func(K, V) []W) Stream[K, W] {
	return sameKeys(s, flatMapValues(s.out, f))
}

func flatMapValues[K, V, W any](from *port[K, V], f func(K, V) []W) *port[K, W] {
	out := stateless(from, "flatMapValues", func(node *graph.Node, next handler[K, W]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				var none W
				return next(ctx, key, none)
			}
			ctx.At = node
			for _, each := range f(key, value) {
				if err := next(ctx, key, each); err != nil {
					return err
				}
			}
			return nil
		}
	})
	from.builder.needs(out.node, f != nil, "its function")
	return out
}

// Peek shows each record to a function, for logging and counting, and lets it go on. It is not shown tombstones. What the
// function does elsewhere is not undone when the record is processed again after a failure.
func (s Stream[K, V]) Peek(look func(K, V)) Stream[K, V] {
	s.out = stateless(s.out, "peek", func(node *graph.Node, next handler[K, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if !ctx.NullValue {
				ctx.At = node
				look(key, value)
			}
			return next(ctx, key, value)
		}
	})
	s.builder.needs(s.out.node, look != nil, "its function")
	return s
}

// ForEach ends the stream in a function. It is not shown tombstones. What the function does elsewhere is not undone when
// the record is processed again after a failure.
func (s Stream[K, V]) ForEach(do func(K, V)) {
	out := stateless(s.out, "forEach", func(node *graph.Node, _ handler[K, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if !ctx.NullValue {
				ctx.At = node
				do(key, value)
			}
			return nil
		}
	})
	out.node.Terminal = true
	s.builder.needs(out.node, do != nil, "its function")
}
