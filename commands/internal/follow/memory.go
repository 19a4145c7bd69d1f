package follow

import (
	"bytes"
	"context"
	"maps"
	"sync"
)

// Memory is an Index that keeps the outcomes of late, as many as it is told, and begins at the end of the log: enough
// for a commander to wait for what it has sent itself. It sees no commands.
type Memory struct {
	limit int

	mu        sync.RWMutex
	topics    map[string]Topic
	positions Positions
	floor     map[int32]int64 // silence is believed from here on
	at        map[Place][]Entry
	first     map[string]Place
	order     []Place // ring: the causes in the order they came
	next      int
}

// NewMemory returns an index that keeps the outcomes of up to limit commands.
func NewMemory(limit int) *Memory {
	return &Memory{
		limit: max(limit, 1), floor: map[int32]int64{}, at: map[Place][]Entry{}, first: map[string]Place{},
		positions: Positions{},
	}
}

// Open goes on where it stood, or begins at the ends of the topics of outcomes if they are other ones.
func (m *Memory) Open(_ context.Context, opening Opening) (Positions, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.believes(opening) {
		return maps.Clone(m.positions), nil
	}
	m.begin(opening)
	return maps.Clone(m.positions), nil
}

// reset forgets everything and begins at the ends of the topics of outcomes.
func (m *Memory) reset(opening Opening) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin(opening)
}

// begin is called with mu held.
func (m *Memory) begin(opening Opening) {
	clear(m.at)
	clear(m.first)
	clear(m.floor)
	m.order, m.next = nil, 0
	m.topics = maps.Clone(opening.Topics)
	m.positions = Positions{}
	for partition, end := range opening.Ends {
		if partition.Topic == opening.Spec.Commands {
			m.floor[partition.Partition] = end
			continue
		}
		m.positions[partition] = end
	}
}

// believes reports whether the log is still the one that was read; called with mu held.
func (m *Memory) believes(opening Opening) bool {
	if m.topics == nil || !maps.Equal(m.topics, opening.Topics) {
		return false
	}
	for partition, position := range m.positions {
		if position > opening.Ends[partition] || position < opening.Starts[partition] {
			return false
		}
	}
	return true
}

// Apply implements Index.
func (m *Memory) Apply(batch *Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.positions, batch.Positions)
	for i := range batch.Entries {
		entry := batch.Entries[i]
		known := m.at[entry.Cause]
		if len(known) == 0 {
			m.remember(entry.Cause)
		}
		entry.Key = bytes.Clone(entry.Key) // the batch it lies in is to go
		m.at[entry.Cause] = append(known, entry)
		if entry.Command == "" || entry.Conflict() {
			continue
		}
		if first, ok := m.first[entry.Command]; !ok || entry.Cause.Offset < first.Offset {
			m.first[entry.Command] = entry.Cause
		}
	}
	return nil
}

// remember gives a cause its place in the ring and forgets the one that was there; called with mu held.
func (m *Memory) remember(cause Place) {
	if len(m.order) < m.limit {
		m.order = append(m.order, cause)
		return
	}
	old := m.order[m.next]
	for _, entry := range m.at[old] {
		if m.first[entry.Command] == old {
			delete(m.first, entry.Command)
		}
	}
	delete(m.at, old)
	m.floor[old.Partition] = max(m.floor[old.Partition], old.Offset+1)
	m.order[m.next] = cause
	m.next = (m.next + 1) % m.limit
}

// At implements Index.
func (m *Memory) At(place Place) ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.at[place], nil
}

// First implements Index: the first of the causes that are kept.
func (m *Memory) First(id string) (Place, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	place, ok := m.first[id]
	return place, ok, nil
}

// Covers implements Index.
func (m *Memory) Covers(place Place) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	floor, ok := m.floor[place.Partition]
	return ok && place.Offset >= floor
}

// Commands implements Index.
func (m *Memory) Commands() bool { return false }
