package topologytest

import (
	"bytes"
	"sort"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/topology"
)

// Readable is a materialized table or a declared store: topology.Table, *topology.KeyValueHandle.
type Readable[K, V any] interface {
	Describe() (topology.Description[K, V], bool)
}

// StoreView reads a store as its tasks see it: with what is processed and not committed yet.
type StoreView[K, V any] struct {
	driver *Driver
	what   topology.Description[K, V]
	spec   *graph.Store
	sub    *graph.SubTopology
}

// Store returns a reader of the rows of a materialized table or a processor's store.
func Store[K, V any](d *Driver, store Readable[K, V]) *StoreView[K, V] {
	d.t.Helper()
	what, ok := store.Describe()
	if !ok {
		d.t.Fatalf("topologytest: the table is not materialized; give it a store with Materialize")
	}
	for _, sub := range d.graph.SubTopologies {
		for _, spec := range sub.Stores {
			if spec.Name == what.Store {
				return &StoreView[K, V]{driver: d, what: what, spec: spec, sub: sub}
			}
		}
	}
	d.t.Fatalf("topologytest: %s has no store %q", d.graph.Application, what.Store)
	return nil
}

// Get returns the value of a key, in whichever partition it is, and whether there is one.
func (s *StoreView[K, V]) Get(key K) (value V, found bool) {
	s.driver.t.Helper()
	data, err := s.what.Key.Append([]byte{}, key)
	s.driver.check(err)
	for _, w := range s.driver.workers {
		if w.sub != s.sub {
			continue
		}
		row, found, err := w.task.State(s.spec.Name).Get(data)
		s.driver.check(err)
		if found {
			return s.decode(row), true
		}
	}
	return value, false
}

// All returns all rows of all partitions in the order of the keys' bytes.
func (s *StoreView[K, V]) All() []topology.KeyValue[K, V] {
	s.driver.t.Helper()
	rows := s.driver.rows(s.sub, s.spec.Name)
	all := make([]topology.KeyValue[K, V], 0, len(rows))
	for _, row := range rows {
		key, err := s.what.Key.Decode(row[0])
		s.driver.check(err)
		all = append(all, topology.KeyValue[K, V]{Key: key, Value: s.decode(row[1])})
	}
	return all
}

func (s *StoreView[K, V]) decode(row []byte) V {
	s.driver.t.Helper()
	if s.spec.Timestamped {
		_, plain, ok := graph.SplitRow(row)
		if !ok {
			s.driver.t.Fatalf("topologytest: store %s has a malformed row", s.spec.Name)
		}
		row = plain
	}
	value, err := s.what.Value.Decode(row)
	s.driver.check(err)
	return value
}

// rows returns all rows of a store as bytes, ordered by key.
func (d *Driver) rows(sub *graph.SubTopology, name string) (all [][2][]byte) {
	for _, w := range d.workers {
		if w.sub != sub {
			continue
		}
		rows := w.task.State(name).Range(nil, nil, false)
		for rows.Next() {
			all = append(all, [2][]byte{bytes.Clone(rows.Key()), bytes.Clone(rows.Value())})
		}
		d.check(rows.Err())
		d.check(rows.Close())
	}
	sort.SliceStable(all, func(i, j int) bool { return bytes.Compare(all[i][0], all[j][0]) < 0 })
	return all
}
