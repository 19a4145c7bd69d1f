package commit

import (
	"fmt"
	"time"

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
	// Sequence and StreamTime are those of the last commit. The committing goroutine owns them.
	Sequence   uint64
	StreamTime int64

	batch *store.Batch
	// dated is when the checkpoints were written last.
	dated time.Time
	// records counts input records since the last seal; the stepping goroutine and the seal exclude each other by the gate.
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
	u.reset()
	s.layer.Write(u.batch)
	for name, offset := range s.written {
		if next := offset + 1; next > u.Positions[name] {
			u.Positions[name] = next
		}
	}
	u.Sequence, u.StreamTime = s.layer.Sequence, s.layer.StreamTime
	if err := u.write(now); err != nil {
		return err
	}
	u.Task.Committed()
	return nil
}

// write applies the unit's batch with checkpoints as of now.
func (u *Unit) write(now time.Time) error {
	for _, spec := range u.Task.Stores() {
		u.batch.SetCheckpoint(store.Checkpoint{
			Changelog: spec.Changelog, Partition: u.Task.Partition(), TopicID: u.TopicIDs[spec.Name], Offset: u.Positions[spec.Name],
			Sequence: u.Sequence, StreamTime: u.StreamTime, WrittenAt: now.UnixMilli(),
		})
	}
	if err := u.Engine.Apply(u.batch); err != nil {
		return fmt.Errorf("writing the committed rows of task %d: %w", u.Task.Partition(), err)
	}
	u.dated = now
	return nil
}

// maxCheckpointGap is far less than the margin by which a checkpoint must be younger than tombstones live (rule 9).
const maxCheckpointGap = 12 * time.Hour

// date writes the checkpoints again if they are older than the given age: an idle task's rows are as good as ever, while a
// checkpoint that has grown too old is not believed (rule 9). After a long gap the process has slept, and others may have
// written since.
func (u *Unit) date(now time.Time, age time.Duration) error {
	if gap := now.Sub(u.dated); gap < age || gap > maxCheckpointGap {
		return nil
	}
	u.reset()
	return u.write(now)
}

func (u *Unit) reset() {
	if u.batch == nil {
		u.batch = store.NewBatch()
	}
	u.batch.Reset()
}
