// Package restore brings the local stores of a session's tasks up to where their changelogs ended after the group's stable
// offsets were read (rule 8 of the commit protocol), and decides what may be believed: the group's offsets, a local copy's
// checkpoint, a changelog record.
//
// It knows no client: Source is its seam, which package bridge fills for production and package sim with a simulated log.
package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// The errors of this package; rejoining the group mends none of them.
var (
	// ErrNoCommittedOffset says that a changelog has records but its group has no committed offset: the group has expired or
	// was deleted. Starting from the beginning would apply every command again.
	ErrNoCommittedOffset = errors.New("the changelog has records but the consumer group has no committed offset")
	// ErrForeignOffset says that another tool has set the group's offsets while the changelog has records.
	ErrForeignOffset = errors.New("the consumer group's offset was set by another tool")
	// ErrOffsetOutOfRange says that records were deleted before they were processed, or the topic was made anew.
	ErrOffsetOutOfRange = errors.New("the committed offset is out of the topic's range")
	// ErrTopicRecreated says that a topic is another than the one that offsets and state follow from.
	ErrTopicRecreated = errors.New("a topic was made anew")
)

// Source is the log as a restore reads it.
type Source interface {
	// Bounds returns the first offset there is and the high-water mark of each partition of the topics. Not the last stable
	// offset: a transaction that the group's offsets contain may still be undecided, because its markers land at different
	// times.
	Bounds(ctx context.Context, topics []string) (starts, ends map[commit.Place]int64, err error)
	// Read reads the changelogs of the stores, committed records only, from where each stands until each is Done, by calling
	// Apply, Passed and Flush.
	Read(ctx context.Context, pending map[commit.Place]*Store) error
	// Current returns nil if the group is still in the generation in which its offsets were read; else an error.
	Current(ctx context.Context) error
}

// Config says how to restore.
type Config struct {
	// Group, Application and Dir, where the local state is, appear in errors.
	Group, Application, Dir string
	// TopicIDs of the changelogs, by name.
	TopicIDs map[string][16]byte
	// TombstoneAge is the changelogs' delete.retention.ms: a checkpoint nearly as old is not believed (rule 9). 0 believes all.
	TombstoneAge time.Duration
	// DeferBytes is how much of what is restored may be in memory only when Run returns, over all tasks; it is written down
	// while they work (store.Deferrer). 0 writes everything first.
	DeferBytes int
	// Now is the clock.
	Now func() time.Time
	// Doubted, if set, is told of a local copy that is not believed and why; Progress of how far a restore has come.
	Doubted  func(store string, partition int32, because string)
	Progress func(store string, partition int32, done, total int64)
}

// Restoration restores the stores of a session's tasks.
type Restoration struct {
	config Config
	stores []*Store
}

// New returns a restoration of nothing.
func New(config Config) *Restoration { return &Restoration{config: config} }

// Add adds a task's stores.
func (r *Restoration) Add(number int32, specs []*graph.Store, engine store.Engine, at Standing) {
	for _, spec := range specs {
		r.stores = append(r.stores, &Store{
			config: &r.config, spec: spec, partition: number, engine: engine, standing: at, batch: store.NewBatch(), written: -1,
		})
	}
}

// Positions returns where the changelogs of a partition's stores have been read to, by store.
func (r *Restoration) Positions(number int32) map[string]int64 {
	at := map[string]int64{}
	for _, s := range r.stores {
		if s.partition == number {
			at[s.spec.Name] = s.next
		}
	}
	return at
}

// Run restores all stores. The group's stable offsets must have been read before.
func (r *Restoration) Run(ctx context.Context, source Source) error {
	if len(r.stores) == 0 {
		return nil
	}
	var changelogs []string
	for _, s := range r.stores {
		if s.partition == r.stores[0].partition {
			changelogs = append(changelogs, s.spec.Changelog)
		}
	}
	starts, ends, err := source.Bounds(ctx, changelogs)
	if err != nil {
		return err
	}
	pending := map[commit.Place]*Store{}
	for _, s := range r.stores {
		place := commit.Place{Topic: s.spec.Changelog, Partition: s.partition}
		s.current = func() error { return source.Current(ctx) }
		if err := s.begin(starts[place], ends[place]); err != nil {
			return err
		}
		if !s.Done() {
			pending[place] = s
		}
	}
	if len(pending) > 0 {
		defer r.deferWrites(pending)()
		if err := source.Read(ctx, pending); err != nil {
			return err
		}
	}
	for _, s := range r.stores {
		if s.batch.Len() == 0 && s.written == s.next {
			continue // by Flush
		}
		if err := s.write(); err != nil {
			return err
		}
	}
	return nil
}

// deferWrites lets the engines of the pending stores share what may wait in memory, and returns what ends that.
func (r *Restoration) deferWrites(pending map[commit.Place]*Store) (end func()) {
	engines := map[store.Engine]bool{}
	for _, s := range pending {
		engines[s.engine] = true
	}
	for engine := range engines {
		store.Defer(engine, r.config.DeferBytes/len(engines))
	}
	return func() {
		for engine := range engines {
			store.Defer(engine, 0)
		}
	}
}

// Store is one store of one task while it is restored. A local copy that is whole reads only what came since its checkpoint.
type Store struct {
	config    *Config
	spec      *graph.Store
	partition int32
	engine    store.Engine
	standing  Standing

	from, next, target int64
	written            int64 // the next offset when it was last written; -1 before
	batch              *store.Batch
	// passed says that records above the standing's sequence were passed over since the last write.
	passed  bool
	current func() error
}

// flushBytes is how much is gathered before it is written: enough for a segment of a set, which is made at once then.
const flushBytes = 4 << 20

// longRestore is how many records make room for a whole batch worth reserving: about as many rows as it has.
const longRestore = 64 << 10

// Next is the changelog offset to read next.
func (s *Store) Next() int64 { return s.next }

// Target is the changelog offset to read up to.
func (s *Store) Target() int64 { return s.target }

// Done tells whether the target is reached.
func (s *Store) Done() bool { return s.next >= s.target }

// begin decides from where to read: from the checkpoint if it can be believed, else from the beginning with nothing kept.
func (s *Store) begin(start, end int64) error {
	if s.standing.Foreign && end > start {
		return fmt.Errorf("%w: group %s, partition %d, while changelog %s has records; run 'tidemill reset %s', which resets offsets and state together",
			ErrForeignOffset, s.config.Group, s.partition, s.spec.Changelog, s.config.Application)
	}
	s.target, s.next = end, start
	have, ok := s.engine.Checkpoint(s.spec.Changelog)
	doubt := ""
	switch {
	case !ok:
	case have.TopicID != s.config.TopicIDs[s.spec.Changelog]:
		if s.standing.Sequence > 0 {
			return s.config.Recreated(s.spec.Changelog)
		}
		doubt = "the changelog topic was made anew"
	case have.Offset > end:
		doubt = "it is ahead of the changelog"
	case have.Offset < start:
		doubt = "the changelog begins after it"
	case have.Sequence > s.standing.Sequence:
		doubt = "it is ahead of the group's committed offsets"
	case s.config.tooOld(have):
		doubt = "it is so old that tombstones may be gone from the changelog"
	default:
		s.next = have.Offset
	}
	s.from = s.next
	if doubt != "" && s.config.Doubted != nil {
		s.config.Doubted(s.spec.Name, s.partition, doubt)
	}
	if !ok || doubt != "" {
		return s.wipe()
	}
	return nil
}

// tooOld tells whether tombstones that the checkpoint has not seen may be gone from the changelog (rule 9), less a margin. A
// checkpoint from the future was written by a clock that was wrong by more than the margin: its age is not known.
func (c *Config) tooOld(have store.Checkpoint) bool {
	age, margin := c.Now().Sub(time.UnixMilli(have.WrittenAt)), c.TombstoneAge/10
	return c.TombstoneAge > 0 && (age > c.TombstoneAge-margin || age < -margin)
}

// Recreated returns the error of a topic that was made anew.
func (c *Config) Recreated(topic string) error {
	return fmt.Errorf("%w: %s is not the topic that the offsets of group %s and the state in %s follow from; if that is meant, run 'tidemill reset %s'",
		ErrTopicRecreated, topic, c.Group, c.Dir, c.Application)
}

func (s *Store) wipe() error {
	for _, name := range append([]string{s.spec.Name}, s.spec.DerivedStores...) {
		if err := s.engine.DeleteStore(name, s.spec.Changelog); err != nil {
			return fmt.Errorf("removing store %s/%d: %w", name, s.partition, err)
		}
	}
	return nil
}

// Apply takes the next fetched record. control says that it is a transaction's marker.
func (s *Store) Apply(record task.Record, control bool) error {
	if record.Offset < s.next {
		return nil
	}
	if s.next = record.Offset + 1; control {
		return nil
	}
	if !s.standing.Found {
		return fmt.Errorf("%w: group %s, partition %d, changelog %s: the group has expired or was deleted; run 'tidemill reset %s' to begin again from the first command with empty state, or set the group's offsets back where they were, with their metadata",
			ErrNoCommittedOffset, s.config.Group, s.partition, s.spec.Changelog, s.config.Application)
	}
	if s.batch.Len() == 0 && s.target-s.next > longRestore {
		s.batch.Grow(flushBytes+flushBytes/2, longRestore)
	}
	sequence, err := task.Restore(s.batch, s.spec, record, s.standing.Sequence)
	if err != nil {
		return fmt.Errorf("reading %s/%d offset %d: %w", s.spec.Changelog, s.partition, record.Offset, err)
	}
	s.passed = s.passed || sequence > s.standing.Sequence
	return nil
}

// Passed says that there is no committed record below an offset that was not applied.
func (s *Store) Passed(next int64) {
	if next > s.next {
		s.next = min(next, max(s.target, s.next))
		s.progress()
	}
}

// Flush reports the progress, and writes what was applied if it has grown, or if that is all.
func (s *Store) Flush() error {
	s.progress()
	if s.batch.Bytes() < flushBytes && !s.Done() {
		return nil
	}
	return s.write()
}

func (s *Store) progress() {
	if s.config.Progress != nil {
		s.config.Progress(s.spec.Name, s.partition, s.next-s.from, s.target-s.from)
	}
}

// write applies the batch with a checkpoint of how far the changelog was read, so that a restore which is cut off goes on
// from there. The checkpoint has the group's sequence: nothing beyond it was applied, and nothing below it is missing that
// lies below the checkpoint's offset. What was passed over must not be missing: if the group has gone on since its offsets were
// read, such records are another owner's commits, and the checkpoint would hide them for ever.
func (s *Store) write() error {
	if s.passed {
		if err := s.current(); err != nil {
			return fmt.Errorf("restoring store %s/%d: %w", s.spec.Name, s.partition, err)
		}
		s.passed = false
	}
	s.batch.SetCheckpoint(store.Checkpoint{
		Changelog: s.spec.Changelog, Partition: s.partition, TopicID: s.config.TopicIDs[s.spec.Changelog], Offset: s.next,
		Sequence: s.standing.Sequence, StreamTime: s.standing.StreamTime, WrittenAt: s.config.Now().UnixMilli(),
	})
	if err := s.engine.Apply(s.batch); err != nil {
		return fmt.Errorf("restoring store %s/%d: %w", s.spec.Name, s.partition, err)
	}
	s.batch.Reset()
	s.written = s.next
	return nil
}
