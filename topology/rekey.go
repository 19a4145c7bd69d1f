package topology

import (
	"strconv"

	"github.com/tidemill/tidemill/internal/graph"
)

// SelectKey gives each record the key that f returns. Tombstones are dropped: a key cannot follow from a value that is not
// there. What needs all records of a key in one place (aggregations, ToTable) repartitions the stream by itself; Decide asks
// for Repartition.
func (s Stream[K, V]) SelectKey[L any](f func(K, V) L) Stream[L, V] {
	return newKeys(s, selectKey(s.out, "selectKey", f))
}

func selectKey[K, V, L any](from *port[K, V], operator string, f func(K, V) L) *port[L, V] {
	out := stateless(from, operator, func(node *graph.Node, next handler[L, V]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				return nil
			}
			ctx.At = node
			return keyed(ctx, next, f(key, value), value)
		}
	})
	from.builder.needs(out.node, f != nil, "its function")
	return out
}

// Map replaces each record by the key and value that f returns. Tombstones are dropped, as with SelectKey.
func (s Stream[K, V]) Map[L, W any](f func(K, V) (L, W)) Stream[L, W] {
	out := stateless(s.out, "map", func(node *graph.Node, next handler[L, W]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				return nil
			}
			ctx.At = node
			newKey, newValue := f(key, value)
			return keyed(ctx, next, newKey, newValue)
		}
	})
	s.builder.needs(out.node, f != nil, "its function")
	return newKeys(s, out)
}

// FlatMap replaces each record by those that f returns, in their order. Tombstones are dropped, as with SelectKey.
func (s Stream[K, V]) FlatMap[L, W any](f func(K, V) []KeyValue[L, W]) Stream[L, W] {
	out := stateless(s.out, "flatMap", func(node *graph.Node, next handler[L, W]) handler[K, V] {
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				return nil
			}
			ctx.At = node
			for _, each := range f(key, value) {
				if err := keyed(ctx, next, each.Key, each.Value); err != nil {
					return err
				}
			}
			return nil
		}
	})
	s.builder.needs(out.node, f != nil, "its function")
	return newKeys(s, out)
}

// keyed hands on a record under a new key, which is there even if the old one was null.
func keyed[K, V any](ctx *graph.Context, next handler[K, V], key K, value V) error {
	before := ctx.NullKey
	ctx.NullKey = false
	err := next(ctx, key, value)
	ctx.NullKey = before
	return err
}

// Merge returns a stream of this stream's records and the others', in the order in which each arrives. Its codecs are this
// stream's, or the first that is known.
func (s Stream[K, V]) Merge(others ...Stream[K, V]) Stream[K, V] {
	parents := []*graph.Node{s.out.node}
	for _, other := range others {
		if other.out != nil {
			parents = append(parents, other.out.node)
		}
	}
	node := s.builder.node(graph.Stateless, "merge", "", parents...)
	if len(others) == 0 {
		s.builder.problem(node, "it has no other stream to merge with")
	}
	out := newPort[K, V](s.builder, node)
	s.out.attach(out.start)
	for _, other := range others {
		switch {
		case other.out == nil:
			s.builder.problem(node, "one of its streams is the zero Stream; streams come from a Builder")
		case other.builder == s.builder:
			other.out.attach(out.start)
		}
		if s.key == nil {
			s.key = other.key
		}
		if s.value == nil {
			s.value = other.value
		}
		s.rekeyed = s.rekeyed || other.rekeyed
	}
	s.out = out
	return s
}

// Branches are the parts of a split stream. A record goes to the first branch, in the order of their definition, whose
// predicate it fulfils; one that fulfils none goes to the default, or nowhere without one. A tombstone goes to all of them:
// only its value would have told where its key's other records went.
type Branches[K, V any] struct {
	stream   Stream[K, V]
	node     *graph.Node
	cases    []branch[K, V]
	fallback *port[K, V]
}

type branch[K, V any] struct {
	keep func(K, V) bool
	out  *port[K, V]
}

// Split divides the stream: see Branches.
//
//	prices := orders.Split()
//	cheap := prices.Branch(func(_ string, o Order) bool { return o.Price < 500 })
//	dear := prices.Default()
func (s Stream[K, V]) Split() *Branches[K, V] {
	node := s.builder.node(graph.Stateless, "split", "", s.out.node)
	b := &Branches[K, V]{stream: s, node: node}
	s.out.attach(b.start)
	return b
}

// Branch returns the records that fulfil keep and none of the predicates before.
func (b *Branches[K, V]) Branch(keep func(K, V) bool) Stream[K, V] {
	node := b.stream.builder.node(graph.Stateless, "branch", strconv.Itoa(len(b.cases)+1), b.node)
	b.stream.builder.needs(node, keep != nil, "its predicate")
	out := newPort[K, V](b.stream.builder, node)
	if !b.stream.builder.built {
		b.cases = append(b.cases, branch[K, V]{keep: keep, out: out})
	}
	branched := b.stream
	branched.out = out
	return branched
}

// Default returns the records that fulfil none of the predicates, also of those that are defined later.
func (b *Branches[K, V]) Default() Stream[K, V] {
	branched := b.stream
	branched.out = b.fallback
	if b.fallback != nil {
		return branched
	}
	branched.out = newPort[K, V](b.stream.builder, b.stream.builder.node(graph.Stateless, "default", "", b.node))
	if !b.stream.builder.built {
		b.fallback = branched.out
	}
	return branched
}

func (b *Branches[K, V]) start(ctx *graph.Context) (handler[K, V], error) {
	nexts := make([]handler[K, V], 0, len(b.cases)+1)
	for _, each := range b.cases {
		next, err := each.out.start(ctx)
		if err != nil {
			return nil, err
		}
		nexts = append(nexts, next)
	}
	if b.fallback != nil {
		next, err := b.fallback.start(ctx)
		if err != nil {
			return nil, err
		}
		nexts = append(nexts, next)
	}
	return func(ctx *graph.Context, key K, value V) error {
		if ctx.NullValue {
			for _, next := range nexts {
				if err := next(ctx, key, value); err != nil {
					return err
				}
			}
			return nil
		}
		for i := range b.cases {
			ctx.At = b.cases[i].out.node
			if b.cases[i].keep(key, value) {
				return nexts[i](ctx, key, value)
			}
		}
		if b.fallback != nil {
			return nexts[len(nexts)-1](ctx, key, value)
		}
		return nil
	}, nil
}
