package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Grouped is a stream whose records are taken together by key: what comes next is an aggregation. As in Kafka Streams, a
// record without a key or without a value is skipped, each record gives a change of the resulting table, and that change
// is as new as the newest record in its row.
//
// If the key was changed before, each aggregation repartitions the stream by itself through
// <application>-<name>-repartition; several over the same stream share one topic if Repartition is called before grouping.
type Grouped[K, V any] struct{ stream Stream[K, V] }

// GroupByKey takes the records of each key together.
func (s Stream[K, V]) GroupByKey() Grouped[K, V] { return Grouped[K, V]{stream: s} }

// GroupBy takes the records together for which f returns the same key. Tombstones are dropped. codec is the new key's.
func (s Stream[K, V]) GroupBy[L any](f func(K, V) L, codec codecs.Codec[L]) Grouped[L, V] {
	regrouped := newKeys(s, selectKey(s.out, "groupBy", f))
	regrouped.key = codec
	return Grouped[L, V]{stream: regrouped}
}

// copartitioned adds a stateful node behind the stream, with all records of a key in one task.
func (s Stream[K, V]) copartitioned(operator, name string) (Stream[K, V], *graph.Node) {
	before := s
	if s.rekeyed {
		s.out, _ = repartition(s.out, name, s.key, s.value, topicOptions{})
		s.rekeyed = false
	}
	node := s.builder.node(graph.Stateful, operator, name, s.out.node)
	needsKey(s.builder, node, s.key)
	if before.rekeyed {
		needsCodec(s.builder, node, s.value, "value", "name one with WithValue before this operator: the key was changed, so the stream is repartitioned")
	}
	return s, node
}

// Count counts the records of each key. name is the store's and mandatory.
func (g Grouped[K, V]) Count(name string) Table[K, int64] {
	return aggregated(g.stream, "count", name, codecs.Int64(), aggregator[K, V, int64]{
		given: true,
		init:  func() int64 { return 0 },
		add:   func(_ K, _ V, count int64) int64 { return count + 1 },
	})
}

// Reduce combines the values of each key: the first stands for itself, f combines what is with what comes. name is the
// store's and mandatory.
func (g Grouped[K, V]) Reduce(name string, f func(aggregate, value V) V) Table[K, V] {
	return aggregated(g.stream, "reduce", name, g.stream.value, aggregator[K, V, V]{
		given: f != nil,
		first: func(_ K, value V) V { return value },
		add:   func(_ K, value, aggregate V) V { return f(aggregate, value) },
	})
}

// Aggregate folds the values of each key into an aggregate that begins with init. f may change the aggregate in place and
// return it. name is the store's and mandatory; codec is the aggregate's.
func (g Grouped[K, V]) Aggregate[A any](name string, init func() A, f func(key K, value V, aggregate A) A, codec codecs.Codec[A]) Table[K, A] {
	return aggregated(g.stream, "aggregate", name, codec, aggregator[K, V, A]{given: init != nil && f != nil, init: init, add: f})
}

// aggregator is how an aggregation goes on from a value.
type aggregator[K, V, A any] struct {
	given bool // whether the user gave all functions
	init  func() A
	first func(K, V) A // if set, the aggregate of a first value
	add   func(K, V, A) A
}

// aggregated adds an aggregation over a stream.
func aggregated[K, V, A any](s Stream[K, V], operator, name string, codec codec[A], how aggregator[K, V, A]) Table[K, A] {
	s, node := s.copartitioned(operator, name)
	b := s.builder
	b.needs(node, how.given, "one of its functions")
	switch operator {
	case "aggregate":
		needsCodec(b, node, codec, "aggregate", "give one as the last argument")
	case "reduce":
		needsValue(b, node, codec)
	}
	store := b.rowStore(node, name, typesOf[K, A]())
	out := newPort[K, Change[A]](b, node)
	s.out.attach(func(ctx *graph.Context) (handler[K, V], error) {
		rows, next, err := openTable(ctx, node, store, s.key, codec, out)
		if err != nil {
			return nil, err
		}
		fold := &fold[K, V, A]{node: node, rows: rows, how: how, next: next, observed: out.observed()}
		return fold.handle, nil
	})
	return Table[K, A]{builder: b, out: out, store: store, key: s.key, value: codec}
}

// fold is the aggregation of one task.
type fold[K, V, A any] struct {
	node     *graph.Node
	rows     *rows[K, A]
	how      aggregator[K, V, A]
	next     handler[K, Change[A]]
	observed bool
}

func (f *fold[K, V, A]) handle(ctx *graph.Context, key K, value V) error {
	if ctx.NullKey || ctx.NullValue {
		return nil
	}
	old, found, err := f.rows.load(key)
	if err != nil {
		return err
	}
	change := Change[A]{HasOld: found, HasNew: true}
	if change.Old, err = f.rows.former(old, found, f.observed); err != nil {
		return err
	}
	ctx.At = f.node
	switch {
	case found:
		change.New = f.how.add(key, value, old.value)
	case f.how.first != nil:
		change.New = f.how.first(key, value)
	default:
		change.New = f.how.add(key, value, f.how.init())
	}
	timestamp := ctx.Timestamp
	if found {
		timestamp = max(timestamp, old.timestamp)
	}
	if err := f.rows.put(change.New, timestamp); err != nil {
		return err
	}
	return at(ctx, timestamp, f.next, key, change)
}

// at hands on a record with another timestamp.
func at[K, V any](ctx *graph.Context, timestamp int64, next handler[K, V], key K, value V) error {
	before := ctx.Timestamp
	ctx.Timestamp = timestamp
	err := next(ctx, key, value)
	ctx.Timestamp = before
	return err
}
