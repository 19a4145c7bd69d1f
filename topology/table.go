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
	key     codecs.Codec[K]
	value   codecs.Codec[V]
}

// Description is what another process needs to read a materialized table from its changelog.
type Description[K, V any] struct {
	// Name of the store, and the compacted topic that backs it.
	Store, Changelog string
	// Group is the consumer group of the tasks that write the table; its committed offsets tell how far they are.
	// It is known once the topology is built.
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
