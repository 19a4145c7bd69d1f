package topology

import (
	"bytes"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// GroupedTable is a table whose rows are taken together under new keys: what comes next is an aggregation that adds a row's
// new value and subtracts its old one. It goes through <application>-<name>-repartition, but for GroupWithin.
type GroupedTable[K, V any] struct {
	out    *port[K, Change[V]]
	key    codec[K]
	value  codec[V]
	leaves bool // the groups may be of other partitions than the rows
}

// GroupBy takes the rows together for which f returns the same key, each with the value that f returns. f is called for old
// and new values alike and must return the same for the same row: what was added is found again only so.
func (t Table[K, V]) GroupBy[L, W any](f func(K, V) (L, W), key codecs.Codec[L], value codecs.Codec[W]) GroupedTable[L, W] {
	return grouped(t, "groupBy", f, key, value, true)
}

func grouped[K, V, L, W any](t Table[K, V], operator string, f func(K, V) (L, W), key codec[L], value codec[W], leaves bool) GroupedTable[L, W] {
	node := t.builder.node(graph.Stateless, operator, "", t.out.node)
	t.builder.needs(node, f != nil, "its function")
	needsCodec(t.builder, node, key, "key", "give one to "+method(operator))
	needsCodec(t.builder, node, value, "value", "give one to "+method(operator))
	if !leaves {
		needsKey(t.builder, node, t.key)
	}
	out := newPort[L, Change[W]](t.builder, node)
	t.out.attach(func(ctx *graph.Context) (handler[K, Change[V]], error) {
		next, err := out.start(ctx)
		if err != nil {
			return nil, err
		}
		group := &regroup[K, V, L, W]{node: node, f: f, key: key, next: next}
		if !leaves {
			group.same = newWithin(node, t.key, key)
		}
		return group.handle, nil
	})
	return GroupedTable[L, W]{out: out, key: key, value: value, leaves: leaves}
}

// regroup is the groupBy operator over a table in one task.
type regroup[K, V, L, W any] struct {
	node             *graph.Node
	f                func(K, V) (L, W)
	key              codec[L]
	same             *within[K, L] // nil: groups may be of other partitions
	next             handler[L, Change[W]]
	oldBytes, nBytes []byte // scratch
}

// handle hands on what is to be subtracted and what is to be added: in one record if both are of one group, else the
// subtraction first, as Kafka Streams does.
func (r *regroup[K, V, L, W]) handle(ctx *graph.Context, key K, change Change[V]) error {
	var oldKey, newKey L
	old, new := Change[W]{HasOld: change.HasOld}, Change[W]{HasNew: change.HasNew}
	ctx.At = r.node
	if change.HasOld {
		oldKey, old.Old = r.f(key, change.Old)
	}
	if change.HasNew {
		newKey, new.New = r.f(key, change.New)
		if err := r.same.check(key, newKey); err != nil {
			return err
		}
	}
	if change.HasOld && change.HasNew {
		var err error
		if r.oldBytes, err = r.key.Append(r.oldBytes[:0], oldKey); err != nil {
			return encodeError(r.node, err)
		}
		if r.nBytes, err = r.key.Append(r.nBytes[:0], newKey); err != nil {
			return encodeError(r.node, err)
		}
		if bytes.Equal(r.oldBytes, r.nBytes) {
			new.Old, new.HasOld = old.Old, true
			return r.next(ctx, newKey, new)
		}
	}
	if change.HasOld {
		if err := r.next(ctx, oldKey, old); err != nil {
			return err
		}
	}
	if change.HasNew {
		return r.next(ctx, newKey, new)
	}
	return nil
}

// Count counts the rows of each group. name is the store's and mandatory.
func (g GroupedTable[K, V]) Count(name string) Table[K, int64] {
	return tableAggregated(g, "count", name, codecs.Int64(), tableAggregator[K, V, int64]{
		given:    true,
		init:     func() int64 { return 0 },
		add:      func(_ K, _ V, count int64) int64 { return count + 1 },
		subtract: func(_ K, _ V, count int64) int64 { return count - 1 },
	})
}

// Reduce combines the values of each group: the first stands for itself, add combines the aggregate with a value that came,
// subtract takes out of it one that went. name is the store's and mandatory.
func (g GroupedTable[K, V]) Reduce(name string, add, subtract func(aggregate, value V) V) Table[K, V] {
	return tableAggregated(g, "reduce", name, g.value, tableAggregator[K, V, V]{
		given:    add != nil && subtract != nil,
		first:    func(_ K, value V) V { return value },
		add:      func(_ K, value, aggregate V) V { return add(aggregate, value) },
		subtract: func(_ K, value, aggregate V) V { return subtract(aggregate, value) },
	})
}

// Aggregate folds the values of each group into an aggregate that begins with init: add takes a value in, subtract takes
// one out. name is the store's and mandatory; codec is the aggregate's.
func (g GroupedTable[K, V]) Aggregate[A any](name string, init func() A, add, subtract func(key K, value V, aggregate A) A, codec codecs.Codec[A]) Table[K, A] {
	return tableAggregated(g, "aggregate", name, codec, tableAggregator[K, V, A]{
		given: init != nil && add != nil && subtract != nil, init: init, add: add, subtract: subtract,
	})
}

// tableAggregator is how an aggregation over a table goes on from a change.
type tableAggregator[K, V, A any] struct {
	given         bool // whether the user gave all functions
	init          func() A
	first         func(K, V) A // if set, the aggregate of a first value
	add, subtract func(K, V, A) A
}

func tableAggregated[K, V, A any](g GroupedTable[K, V], operator, name string, codec codec[A], how tableAggregator[K, V, A]) Table[K, A] {
	b := g.out.builder
	out := g.out
	if g.leaves {
		out, _ = repartition(out, name, g.key, changes(g.value), topicOptions{})
	}
	node := b.node(graph.Stateful, operator, name, out.node)
	b.needs(node, how.given, "one of its functions")
	if operator == "aggregate" {
		needsCodec(b, node, codec, "aggregate", "give one as the last argument")
	}
	store := b.rowStore(node, name, typesOf[K, A]())
	table := newPort[K, Change[A]](b, node)
	out.attach(func(ctx *graph.Context) (handler[K, Change[V]], error) {
		rows, next, err := openTable(ctx, node, store, g.key, codec, table)
		if err != nil {
			return nil, err
		}
		refold := &refold[K, V, A]{node: node, rows: rows, how: how, next: next, observed: table.observed()}
		return refold.handle, nil
	})
	return Table[K, A]{builder: b, out: table, store: store, key: g.key, value: codec}
}

// refold is the aggregation over a table in one task.
type refold[K, V, A any] struct {
	node     *graph.Node
	rows     *rows[K, A]
	how      tableAggregator[K, V, A]
	next     handler[K, Change[A]]
	observed bool
}

func (f *refold[K, V, A]) handle(ctx *graph.Context, key K, change Change[V]) error {
	if ctx.NullKey || ctx.NullValue {
		return nil
	}
	old, found, err := f.rows.load(key)
	if err != nil {
		return err
	}
	result := Change[A]{HasOld: found, New: old.value, HasNew: found}
	if result.Old, err = f.rows.former(old, found, f.observed); err != nil {
		return err
	}
	timestamp := ctx.Timestamp
	if found {
		timestamp = max(timestamp, old.timestamp)
	}
	ctx.At = f.node
	if change.HasOld && found {
		result.New = f.how.subtract(key, change.Old, result.New)
	}
	if change.HasNew {
		switch {
		case found:
			result.New = f.how.add(key, change.New, result.New)
		case f.how.first != nil:
			result.New = f.how.first(key, change.New)
		default:
			result.New = f.how.add(key, change.New, f.how.init())
		}
		result.HasNew = true
	}
	if !result.HasNew {
		f.rows.remove()
	} else if err := f.rows.put(result.New, timestamp); err != nil {
		return err
	}
	return at(ctx, timestamp, f.next, key, result)
}
