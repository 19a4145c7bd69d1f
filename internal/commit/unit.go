package commit

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// Unit is a task with the store that its committed rows are in.
type Unit struct {
	Task   *task.Task
	Engine store.Engine
	// Positions are the changelogs' next offsets, by store; TopicIDs their topics' ids. The committing goroutine owns them.
	Positions map[string]int64
	TopicIDs  map[string][16]byte

	batch *store.Batch
	// stepping counts input records since the last seal; the stepping goroutine and the seal exclude each other by the gate.
	records int
}

// sealed is a unit's part of one transaction.
type sealed struct {
	unit  *Unit
	layer *task.Layer
	// written are the highest changelog offsets acknowledged, by store.
	written map[string]int64
}

// apply writes a committed layer's rows with the changelog offsets they stand at, in one batch.
func (s *sealed) apply(now time.Time) error {
	u := s.unit
	if u.batch == nil {
		u.batch = store.NewBatch()
	}
	u.batch.Reset()
	s.layer.Write(u.batch)
	for name, offset := range s.written {
		if next := offset + 1; next > u.Positions[name] {
			u.Positions[name] = next
		}
	}
	for _, spec := range u.Task.Stores() {
		u.batch.SetCheckpoint(checkpoint(u, spec, s.layer.Sequence, s.layer.StreamTime, now))
	}
	if err := u.Engine.Apply(u.batch); err != nil {
		return fmt.Errorf("writing the committed rows of task %d: %w", u.Task.Partition(), err)
	}
	u.Task.Committed()
	return nil
}

func checkpoint(u *Unit, spec *graph.Store, sequence uint64, streamTime int64, now time.Time) store.Checkpoint {
	return store.Checkpoint{
		Changelog: spec.Changelog, Partition: u.Task.Partition(), TopicID: u.TopicIDs[spec.Name], Offset: u.Positions[spec.Name],
		Sequence: sequence, StreamTime: streamTime, WrittenAt: now.UnixMilli(),
	}
}
