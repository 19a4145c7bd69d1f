package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Change is one change of a table's row.
type Change[V any] struct {
	Old, New       V
	HasOld, HasNew bool
}

// Table is a changing table: the latest value of each key. It is a description: copying it copies nothing but the handle.
type Table[K, V any] struct {
	builder *Builder
	out     *port[K, Change[V]]
	store   *graph.Store // nil where the table is not materialized
	key     codec[K]
	value   codec[V]
}

// Description is what another process needs to read a materialized table from its changelog.
type Description[K, V any] struct {
	// Name of the store, and the compacted topic that backs it.
	Store, Changelog string
	// Key and Value are the codecs of the changelog's records.
	Key   codecs.Codec[K]
	Value codecs.Codec[V]
}

// Describe returns how to read the table's changelog. It reports false for a table without a store of its own.
func (t Table[K, V]) Describe() (Description[K, V], bool) {
	if t.store == nil {
		return Description[K, V]{}, false
	}
	return Description[K, V]{Store: t.store.Name, Changelog: t.store.Changelog, Key: t.key, Value: codecs.ForStore(t.value)}, true
}

// WithKey names the codec of the table's keys, for operators that store or write them.
func (t Table[K, V]) WithKey(codec codecs.Codec[K]) Table[K, V] {
	t.key = codec
	return t
}

// WithValue names the codec of the table's values, for operators that store or write them.
func (t Table[K, V]) WithValue(codec codecs.Codec[V]) Table[K, V] {
	t.value = codec
	return t
}

// Filter keeps the rows for which keep returns true. A row that was kept and now is not is deleted. A change of a row that
// was not there before nor is now says nothing and goes no further.
func (t Table[K, V]) Filter(keep func(K, V) bool) Table[K, V] { return t.filter("filter", keep, true) }

// FilterNot drops the rows for which drop returns true: see Filter.
func (t Table[K, V]) FilterNot(drop func(K, V) bool) Table[K, V] {
	return t.filter("filterNot", drop, false)
}

func (t Table[K, V]) filter(operator string, test func(K, V) bool, want bool) Table[K, V] {
	out := stateless(t.out, operator, func(node *graph.Node, next handler[K, Change[V]]) handler[K, Change[V]] {
		return func(ctx *graph.Context, key K, change Change[V]) error {
			var none V
			ctx.At = node
			if change.HasOld && test(key, change.Old) != want {
				change.Old, change.HasOld = none, false
			}
			if change.HasNew && test(key, change.New) != want {
				change.New, change.HasNew = none, false
			}
			if !change.HasOld && !change.HasNew {
				return nil
			}
			return next(ctx, key, change)
		}
	})
	t.builder.needs(out.node, test != nil, "its predicate")
	t.out, t.store = out, nil
	return t
}

// MapValues replaces each row's value. f is called for the old value too, so that what follows can undo it.
func (t Table[K, V]) MapValues[W any](f func(V) W) Table[K, W] {
	var withKey func(K, V) W
	if f != nil {
		withKey = func(_ K, value V) W { return f(value) }
	}
	return t.MapValuesWithKey(withKey)
}

// MapValuesWithKey replaces each row's value by what follows from key and value: see MapValues.
func (t Table[K, V]) MapValuesWithKey[W any](f func(K, V) W) Table[K, W] {
	out := stateless(t.out, "mapValues", func(node *graph.Node, next handler[K, Change[W]]) handler[K, Change[V]] {
		return func(ctx *graph.Context, key K, change Change[V]) error {
			mapped := Change[W]{HasOld: change.HasOld, HasNew: change.HasNew}
			ctx.At = node
			if change.HasOld {
				mapped.Old = f(key, change.Old)
			}
			if change.HasNew {
				mapped.New = f(key, change.New)
			}
			return next(ctx, key, mapped)
		}
	})
	t.builder.needs(out.node, f != nil, "its function")
	return Table[K, W]{builder: t.builder, out: out, key: t.key, value: kept[V, W](t.value)}
}

// ToStream returns the table's changes as a stream: the new value, or a tombstone where the row is deleted.
func (t Table[K, V]) ToStream() Stream[K, V] {
	out := stateless(t.out, "toStream", func(_ *graph.Node, next handler[K, V]) handler[K, Change[V]] {
		return func(ctx *graph.Context, key K, change Change[V]) error {
			before := ctx.NullValue
			ctx.NullValue = !change.HasNew
			err := next(ctx, key, change.New)
			ctx.NullValue = before
			return err
		}
	})
	return Stream[K, V]{builder: t.builder, out: out, key: t.key, value: t.value}
}

// Materialize keeps the table's rows in a store under a name, so that views, queries and tests can read them.
func (t Table[K, V]) Materialize(name string) Table[K, V] {
	b := t.builder
	node := b.node(graph.Stateful, "materialize", name, t.out.node)
	needsKey(b, node, t.key)
	needsValue(b, node, t.value)
	store := b.rowStore(node, name, typesOf[K, V]())
	out := newPort[K, Change[V]](b, node)
	t.out.attach(func(ctx *graph.Context) (handler[K, Change[V]], error) {
		rows, next, err := openTable(ctx, node, store, t.key, t.value, out)
		if err != nil {
			return nil, err
		}
		return func(ctx *graph.Context, key K, change Change[V]) error {
			if _, _, err := rows.load(key); err != nil {
				return err
			}
			if change.HasNew {
				err = rows.put(change.New, ctx.Timestamp)
			} else {
				rows.remove()
			}
			if err != nil {
				return err
			}
			return next(ctx, key, change)
		}, nil
	})
	t.out, t.store = out, store
	return t
}

// ToTable reads the stream as a table: each record is the present value of its key, a tombstone deletes it, a record without
// a key is skipped. The rows are kept in a store under a mandatory name. If the key was changed before, the stream is
// repartitioned by itself, through <application>-<name>-repartition.
func (s Stream[K, V]) ToTable(name string) Table[K, V] {
	s, node := s.copartitioned("toTable", name)
	b := s.builder
	needsValue(b, node, s.value)
	store := b.rowStore(node, name, typesOf[K, V]())
	out := newPort[K, Change[V]](b, node)
	s.out.attach(func(ctx *graph.Context) (handler[K, V], error) {
		rows, next, err := openTable(ctx, node, store, s.key, s.value, out)
		if err != nil {
			return nil, err
		}
		upsert := &upsert[K, V]{rows: rows, next: next, observed: out.observed()}
		return upsert.handle, nil
	})
	return Table[K, V]{builder: b, out: out, store: store, key: s.key, value: s.value}
}

// upsert is the toTable operator of one task.
type upsert[K, V any] struct {
	rows     *rows[K, V]
	next     handler[K, Change[V]]
	observed bool
}

func (u *upsert[K, V]) handle(ctx *graph.Context, key K, value V) error {
	if ctx.NullKey {
		return nil
	}
	old, found, err := u.rows.load(key)
	if err != nil {
		return err
	}
	change := Change[V]{Old: old.value, HasOld: found, New: value, HasNew: !ctx.NullValue}
	if !change.HasNew {
		u.rows.remove()
		ctx.NullValue = false // what follows looks at the change
		defer func() { ctx.NullValue = true }()
	} else if err := u.rows.put(value, ctx.Timestamp); err != nil {
		return err
	}
	return u.next(ctx, key, change)
}

// rowStore adds a store of timestamped rows.
func (b *Builder) rowStore(node *graph.Node, name, types string) *graph.Store {
	store := b.store(node, name, types)
	store.Timestamped = true
	return store
}

// openTable opens a task's rows of a table and what follows it.
func openTable[K, V any](ctx *graph.Context, node *graph.Node, store *graph.Store, key codec[K], value codec[V], out *port[K, Change[V]]) (*rows[K, V], handler[K, Change[V]], error) {
	rows, err := openRows(ctx, node, store, key, value)
	if err != nil {
		return nil, nil, err
	}
	next, err := out.start(ctx)
	return rows, next, err
}
