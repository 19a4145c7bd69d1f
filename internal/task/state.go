package task

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
)

// state is one store of a task as its operators see it: upper layer over lower layer over the committed rows.
type state struct {
	task *Task
	spec *graph.Store
}

// undo puts one row of the upper layer back.
type undo struct {
	store    string
	key      string
	previous row
	existed  bool
}

// mark is a place in the upper layer to roll back to.
type mark struct{ outputs, changelog, size int }

func newState(task *Task, spec *graph.Store) *state { return &state{task: task, spec: spec} }

// State implements graph.Runtime.
func (t *Task) State(name string) graph.State {
	if s, ok := t.states[name]; ok {
		return s
	}
	return nil
}

// Emit implements graph.Runtime: a record for a topic. Its bytes must live as long as the transaction (Arena).
func (t *Task) Emit(output graph.Output) {
	t.upper.Outputs = append(t.upper.Outputs, output)
	t.upper.size += len(output.Key) + len(output.Value)
}

// OnEvict implements graph.Runtime.
func (t *Task) OnEvict(forget func()) { t.evict = append(t.evict, forget) }

// Arena implements graph.Runtime.
func (t *Task) Arena(n int) []byte { return t.upper.arena.take(n) }

// Headers implements graph.Runtime.
func (t *Task) Headers(n int) []graph.Header { return t.upper.arena.list(n) }

// Get implements graph.State.
func (s *state) Get(key []byte) ([]byte, bool, error) {
	if r, ok := s.task.upper.rows[s.spec.Name][string(key)]; ok {
		return r.value, r.value != nil, nil
	}
	if lower := s.task.lower.Load(); lower != nil {
		if r, ok := lower.rows[s.spec.Name][string(key)]; ok {
			return r.value, r.value != nil, nil
		}
	}
	value, found, err := s.task.config.Base.Get(s.spec.Name, key)
	if err != nil {
		return nil, false, fmt.Errorf("reading store %s/%d: %w", s.spec.Name, s.task.config.Partition, err)
	}
	return value, found, nil
}

// Put implements graph.State.
func (s *state) Put(key, value, extra []byte) {
	t, layer := s.task, s.task.upper
	ownKey, ownValue := layer.arena.copy(key), layer.arena.copy(value)
	if ownKey == nil {
		ownKey = []byte{}
	}
	s.set(ownKey, ownValue)
	if s.spec.Changelog == "" {
		return
	}
	recorded, timestamp := ownValue, t.ctx.Timestamp
	if s.spec.Timestamped {
		if at, plain, ok := graph.SplitRow(ownValue); ok {
			recorded, timestamp = plain, at
		}
	}
	header := AppendChangelog(layer.arena.take(binary.MaxVarintLen64 + len(extra))[:0], layer.Sequence, extra)
	layer.Changelog = append(layer.Changelog, graph.Output{
		Topic: s.spec.Changelog, Partition: t.config.Partition, Key: ownKey, Value: recorded,
		Headers: layer.arena.header(meta.Changelog, header), Timestamp: timestamp, Store: s.spec.Name,
	})
	if extra != nil && s.spec.Derive != nil {
		s.spec.Derive(key, value, extra, t.ctx.Timestamp, t.derived)
	}
}

// putDerived writes a row that has no changelog record of its own.
func (t *Task) putDerived(store string, key, value []byte) {
	derived, ok := t.states[store]
	if !ok {
		return
	}
	derived.set(t.upper.arena.copy(key), t.upper.arena.copy(value))
}

// set writes a row into the upper layer. key and value belong to the layer.
func (s *state) set(key, value []byte) {
	layer := s.task.upper
	rows := layer.rows[s.spec.Name]
	if rows == nil {
		rows = map[string]row{}
		layer.rows[s.spec.Name] = rows
	}
	text := unsafeString(key)
	previous, existed := rows[text]
	s.task.journal = append(s.task.journal, undo{store: s.spec.Name, key: text, previous: previous, existed: existed})
	rows[text] = row{value: value}
	layer.size += len(key) + len(value) + rowOverhead
}

// rowOverhead is what a row costs beside its bytes: the map's entry, the changelog record, its header.
const rowOverhead = 256

func (t *Task) mark() mark {
	t.journal = t.journal[:0]
	return mark{outputs: len(t.upper.Outputs), changelog: len(t.upper.Changelog), size: t.upper.size}
}

// rollback undoes what was done since the mark, newest first.
func (t *Task) rollback(m mark) {
	for i := len(t.journal) - 1; i >= 0; i-- {
		u := t.journal[i]
		if u.existed {
			t.upper.rows[u.store][u.key] = u.previous
		} else {
			delete(t.upper.rows[u.store], u.key)
		}
	}
	t.journal = t.journal[:0]
	clear(t.upper.Outputs[m.outputs:])
	clear(t.upper.Changelog[m.changelog:])
	t.upper.Outputs, t.upper.Changelog = t.upper.Outputs[:m.outputs], t.upper.Changelog[:m.changelog]
	t.upper.size = m.size
}
