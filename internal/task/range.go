package task

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
)

// Range implements graph.State: the layers' rows merged over the store's.
func (s *state) Range(from, to []byte, descending bool) graph.Iterator {
	lower := s.task.lower.Load()
	it := &merged{base: s.task.config.Base.Range(s.spec.Name, from, to, descending), descending: descending}
	overlay := map[string]row{}
	if lower != nil {
		collect(overlay, lower.rows[s.spec.Name], from, to)
	}
	collect(overlay, s.task.upper.rows[s.spec.Name], from, to)
	for key, r := range overlay {
		it.keys = append(it.keys, key)
		_ = r
	}
	sort.Slice(it.keys, func(i, j int) bool { return (it.keys[i] < it.keys[j]) != descending })
	it.rows = overlay
	it.advanceBase()
	return it
}

func collect(into, rows map[string]row, from, to []byte) {
	for key, r := range rows {
		if (from == nil || key >= string(from)) && (to == nil || key < string(to)) {
			into[key] = r
		}
	}
}

// merged walks over the sorted overlay and the store at once; the overlay hides rows of the same key.
type merged struct {
	base       store.Iterator
	baseMore   bool
	keys       []string
	rows       map[string]row
	descending bool
	key, value []byte
}

func (m *merged) advanceBase() { m.baseMore = m.base.Next() }

// Next implements graph.Iterator.
func (m *merged) Next() bool {
	for len(m.keys) > 0 || m.baseMore {
		order := 1 // the base's row comes first
		switch {
		case !m.baseMore:
			order = -1
		case len(m.keys) > 0:
			order = bytes.Compare([]byte(m.keys[0]), m.base.Key())
			if m.descending {
				order = -order
			}
		}
		if order > 0 {
			m.key, m.value = bytes.Clone(m.base.Key()), bytes.Clone(m.base.Value())
			m.advanceBase()
			return true
		}
		key := m.keys[0]
		m.keys = m.keys[1:]
		if order == 0 {
			m.advanceBase()
		}
		if r := m.rows[key]; r.value != nil {
			m.key, m.value = []byte(key), r.value
			return true
		}
	}
	return false
}

// Key implements graph.Iterator.
func (m *merged) Key() []byte { return m.key }

// Value implements graph.Iterator.
func (m *merged) Value() []byte { return m.value }

// Err implements graph.Iterator.
func (m *merged) Err() error {
	if err := m.base.Err(); err != nil {
		return fmt.Errorf("iterating over a store: %w", err)
	}
	return nil
}

// Close implements graph.Iterator.
func (m *merged) Close() error { return m.base.Close() }
