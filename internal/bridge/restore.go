package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// restoration brings the local stores of a session's tasks up to where their changelogs ended after the group's stable
// offsets were read (rule 8). A local copy that is whole reads only what came since its checkpoint.
type restoration struct {
	processor *Processor
	restores  []*storeRestore
}

// storeRestore is one store of one task.
type storeRestore struct {
	spec      *graph.Store
	partition int32
	engine    store.Engine
	standing  standing

	from, next, target int64
	batch              *store.Batch
}

// standing is what the group's offsets say of a task.
type standing struct {
	// sequence and streamTime are those of the last commit. Changelog records of later commits are not applied.
	sequence   uint64
	streamTime int64
	// found says that the group has an offset, foreign that another tool has set it.
	found, foreign bool
}

// restoreBytes is how much is gathered before it is written.
const restoreBytes = 2 << 20

func (r *restoration) add(number int32, engine store.Engine, at standing) {
	for _, spec := range r.processor.config.SubTopology.Stores {
		r.restores = append(r.restores, &storeRestore{
			spec: spec, partition: number, engine: engine, standing: at, batch: store.NewBatch(),
		})
	}
}

// positions returns where the changelogs of a partition's stores have been read to.
func (r *restoration) positions(number int32) map[string]int64 {
	at := map[string]int64{}
	for _, s := range r.restores {
		if s.partition == number {
			at[s.spec.Name] = s.next
		}
	}
	return at
}

func (r *restoration) run(ctx context.Context) error {
	if len(r.restores) == 0 {
		return nil
	}
	p := r.processor
	var changelogs []string
	for _, spec := range p.config.SubTopology.Stores {
		changelogs = append(changelogs, spec.Changelog)
	}
	starts, err := p.admin.StartOffsets(ctx, changelogs...)
	if err != nil {
		return err
	}
	// The high-water marks, not the last stable offsets: a transaction that the group's offsets contain may still be
	// undecided here, because its markers land at different times.
	ends, err := p.admin.EndOffsets(ctx, changelogs...)
	if err != nil {
		return err
	}
	pending := map[commit.Place]*storeRestore{}
	for _, s := range r.restores {
		if err := r.begin(s, starts[s.spec.Changelog][s.partition], ends[s.spec.Changelog][s.partition]); err != nil {
			return err
		}
		if s.next < s.target {
			pending[commit.Place{Topic: s.spec.Changelog, Partition: s.partition}] = s
		}
	}
	if len(pending) > 0 {
		if err := r.read(ctx, pending); err != nil {
			return err
		}
	}
	for _, s := range r.restores {
		if err := r.write(s); err != nil {
			return err
		}
	}
	return nil
}

// begin decides from where to read: from the checkpoint if it can be believed, else from the beginning with nothing kept.
func (r *restoration) begin(s *storeRestore, start, end int64) error {
	p := r.processor
	if s.standing.foreign && end > start {
		return fmt.Errorf("%w: group %s, partition %d, while changelog %s has records; run 'tidemill reset %s', which resets offsets and state together",
			ErrForeignOffset, p.config.SubTopology.Group, s.partition, s.spec.Changelog, p.config.SubTopology.Application)
	}
	s.target, s.next = end, start
	have, ok := s.engine.Checkpoint(s.spec.Changelog)
	doubt := ""
	switch {
	case !ok:
	case have.TopicID != p.topicIDs[s.spec.Changelog]:
		if s.standing.sequence > 0 {
			return p.recreated(s.spec.Changelog)
		}
		doubt = "the changelog topic was made anew"
	case have.Offset > end:
		doubt = "it is ahead of the changelog"
	case have.Offset < start:
		doubt = "the changelog begins after it"
	case have.Sequence > s.standing.sequence:
		doubt = "it is ahead of the group's committed offsets"
	case p.config.TombstoneAge > 0 && time.Since(time.UnixMilli(have.WrittenAt)) > p.config.TombstoneAge-p.config.TombstoneAge/10:
		doubt = "it is so old that tombstones may be gone from the changelog"
	default:
		s.next = have.Offset
	}
	s.from = s.next
	if !ok || doubt != "" {
		if doubt != "" {
			p.logger.Warn("the local state is not believed and will be restored from the changelog", "store", s.spec.Name, "partition", s.partition, "because", doubt)
		}
		return s.wipe()
	}
	return nil
}

func (s *storeRestore) wipe() error {
	for _, name := range append([]string{s.spec.Name}, s.spec.DerivedStores...) {
		if err := s.engine.DeleteStore(name, s.spec.Changelog); err != nil {
			return fmt.Errorf("removing store %s/%d: %w", name, s.partition, err)
		}
	}
	return nil
}

// apply adds fetched records to the store's batch and writes it when it has grown.
func (r *restoration) apply(s *storeRestore, records []*kgo.Record) error {
	for _, record := range records {
		if record.Offset < s.next {
			continue
		}
		if s.next = record.Offset + 1; record.Attrs.IsControl() {
			continue
		}
		if !s.standing.found {
			return fmt.Errorf("%w: group %s, partition %d, changelog %s: the group has expired or was deleted; run 'tidemill reset %s' to begin again from the first command with empty state, or set the group's offsets back where they were, with their metadata",
				ErrNoCommittedOffset, r.processor.config.SubTopology.Group, s.partition, s.spec.Changelog, r.processor.config.SubTopology.Application)
		}
		input := task.Record{Key: record.Key, Value: record.Value, Timestamp: record.Timestamp.UnixMilli()}
		for _, header := range record.Headers {
			input.Headers = append(input.Headers, graph.Header{Key: header.Key, Value: header.Value})
		}
		if _, err := task.Restore(s.batch, s.spec, input, s.standing.sequence); err != nil {
			return fmt.Errorf("reading %s/%d offset %d: %w", s.spec.Changelog, s.partition, record.Offset, err)
		}
	}
	r.progress(s)
	if s.batch.Bytes() < restoreBytes {
		return nil
	}
	return r.write(s)
}

func (r *restoration) progress(s *storeRestore) {
	r.processor.config.Observer.Restoring(s.spec.Name, s.partition, s.next-s.from, s.target-s.from)
}

// write applies the batch with a checkpoint of how far the changelog was read, so that a restore which is cut off goes on
// from there. The checkpoint has the group's sequence: nothing beyond it was applied, and nothing below it is missing that
// lies below the checkpoint's offset.
func (r *restoration) write(s *storeRestore) error {
	s.batch.SetCheckpoint(store.Checkpoint{
		Changelog: s.spec.Changelog, Partition: s.partition, TopicID: r.processor.topicIDs[s.spec.Changelog], Offset: s.next,
		Sequence: s.standing.sequence, StreamTime: s.standing.streamTime, WrittenAt: time.Now().UnixMilli(),
	})
	if err := s.engine.Apply(s.batch); err != nil {
		return fmt.Errorf("restoring store %s/%d: %w", s.spec.Name, s.partition, err)
	}
	s.batch.Reset()
	return nil
}
