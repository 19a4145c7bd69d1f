package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Stream is a stream of records, each an event of its own. It is a description: copying it copies nothing but the handle.
type Stream[K, V any] struct {
	builder *Builder
	out     *port[K, V]
	key     codecs.Codec[K] // nil where an operator has changed the type: what writes the key then names a codec
	value   codecs.Codec[V] // likewise
	// rekeyed says that the key may have changed since the last topic, so that the record may be on another key's partition.
	rekeyed bool
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

// derive adds a stateless node behind s. assemble gets the handler of what follows.
func derive[K, V, L, W any](s Stream[K, V], operator string, assemble func(node *graph.Node, next handler[L, W]) handler[K, V]) *port[L, W] {
	node := s.builder.node(graph.Stateless, operator, "", s.out.node)
	out := &port[L, W]{node: node}
	s.out.attach(func(ctx *graph.Context) (handler[K, V], error) {
		next, err := out.start(ctx)
		if err != nil {
			return nil, err
		}
		return assemble(node, next), nil
	})
	return out
}

// Filter keeps the records for which keep returns true. Tombstones pass.
func (s Stream[K, V]) Filter(keep func(K, V) bool) Stream[K, V] {
	s.out = derive(s, "filter", func(_ *graph.Node, next handler[K, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if !ctx.NullValue && !keep(key, value) {
				return nil
			}
			return next(ctx, key, value)
		}
	})
	return s
}

// MapValues replaces each value; keys and so partitions stay.
func (s Stream[K, V]) MapValues[W any](f func(V) W) Stream[K, W] {
	out := derive(s, "mapValues", func(_ *graph.Node, next handler[K, W]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			var mapped W
			if !ctx.NullValue {
				mapped = f(value)
			}
			return next(ctx, key, mapped)
		}
	})
	return Stream[K, W]{builder: s.builder, out: out, key: s.key, rekeyed: s.rekeyed}
}
