package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// restoration brings the local stores of a session's tasks up to their changelogs' last stable offsets, taken after the
// group's stable offsets were read (rule 8). A local copy that is whole reads only what came since its checkpoint.
type restoration struct {
	processor *Processor
	restores  []*storeRestore
}

// storeRestore is one store of one task.
type storeRestore struct {
	spec      *graph.Store
	partition int32
	engine    store.Engine
	// limit is the group's sequence: changelog records of later commits are not applied.
	limit          uint64
	found, foreign bool // whether the group has an offset, and whether another tool has set it

	from, next, target int64
	batch              *store.Batch
	sequences          uint64 // the highest sequence seen
}

// restoreBytes is how much is gathered before it is written.
const restoreBytes = 2 << 20

func (r *restoration) add(number int32, engine store.Engine, limit uint64, found, foreign bool) {
	for _, spec := range r.processor.config.SubTopology.Stores {
		r.restores = append(r.restores, &storeRestore{
			spec: spec, partition: number, engine: engine, limit: limit, found: found, foreign: foreign, batch: store.NewBatch(),
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
	ends, err := p.admin.StableOffsets(ctx, changelogs...)
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
		if err := r.finish(s); err != nil {
			return err
		}
	}
	return nil
}

// begin decides from where to read: from the checkpoint if it can be believed, else from the beginning with nothing kept.
func (r *restoration) begin(s *storeRestore, start, end int64) error {
	p := r.processor
	if s.found && s.foreign && end > 0 {
		return fmt.Errorf("%w: group %s, partition %d, while changelog %s has records; run 'tidemill reset %s', which resets offsets and state together",
			ErrForeignOffset, p.config.SubTopology.Group, s.partition, s.spec.Changelog, p.config.SubTopology.Application)
	}
	s.target, s.next = end, start
	have, ok := s.engine.Checkpoint(s.spec.Changelog)
	doubt := ""
	switch {
	case !ok:
	case have.TopicID != p.topicIDs[s.spec.Name]:
		doubt = "the changelog topic was made anew"
	case have.Offset > end:
		doubt = "it is ahead of the changelog"
	case have.Offset < start:
		doubt = "the changelog begins after it"
	case have.Sequence > s.limit:
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

// read consumes the pending changelogs, committed records only, until each has passed its target. Control records are kept:
// the last offset before the target may be a transaction's marker.
func (r *restoration) read(ctx context.Context, pending map[commit.Place]*storeRestore) error {
	from := map[string]map[int32]kgo.Offset{}
	for place, s := range pending {
		if from[place.Topic] == nil {
			from[place.Topic] = map[int32]kgo.Offset{}
		}
		from[place.Topic][place.Partition] = kgo.NewOffset().At(s.next)
	}
	options, err := r.processor.config.Log.ClientOptions()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(options,
		kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxPartitionBytes(2<<20), kgo.FetchMaxBytes(16<<20))...)
	if err != nil {
		return fmt.Errorf("opening a consumer: %w", err)
	}
	defer client.Close()
	for len(pending) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(topic string, number int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("reading %s/%d: %w", topic, number, err))
		})
		if failed != nil {
			return failed
		}
		fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
			place := commit.Place{Topic: fetched.Topic, Partition: fetched.Partition}
			s, ok := pending[place]
			if !ok || failed != nil {
				return
			}
			if failed = r.apply(s, fetched.Records); failed == nil && s.next >= s.target {
				delete(pending, place)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// apply adds fetched records to the store's batch and writes it when it has grown.
func (r *restoration) apply(s *storeRestore, records []*kgo.Record) error {
	for _, record := range records {
		if s.next = record.Offset + 1; record.Attrs.IsControl() {
			continue
		}
		input := task.Record{Key: record.Key, Value: record.Value, Timestamp: record.Timestamp.UnixMilli()}
		for _, header := range record.Headers {
			input.Headers = append(input.Headers, graph.Header{Key: header.Key, Value: header.Value})
		}
		sequence, err := task.Restore(s.batch, s.spec, input, s.limit)
		if err != nil {
			return fmt.Errorf("reading %s/%d offset %d: %w", s.spec.Changelog, s.partition, record.Offset, err)
		}
		s.sequences = max(s.sequences, sequence)
	}
	r.processor.config.Observer.Restoring(s.spec.Name, s.partition, s.next-s.from, s.target-s.from)
	if s.batch.Bytes() < restoreBytes {
		return nil
	}
	return s.write()
}

// write applies the batch. Its checkpoint has the group's sequence: nothing beyond it was applied.
func (s *storeRestore) write() error {
	if err := s.engine.Apply(s.batch); err != nil {
		return fmt.Errorf("restoring store %s/%d: %w", s.spec.Name, s.partition, err)
	}
	s.batch.Reset()
	return nil
}

// finish writes the rest with the checkpoint. Before it, a restore that is cut off leaves no checkpoint, or the old one,
// and begins from there again.
func (r *restoration) finish(s *storeRestore) error {
	if !s.found && s.sequences > 1 {
		return fmt.Errorf("%w: group %s, partition %d, changelog %s: the group has expired or was deleted; run 'tidemill reset %s' to begin again from the first command with empty state, or set the group's offsets back where they were",
			ErrNoCommittedOffset, r.processor.config.SubTopology.Group, s.partition, s.spec.Changelog, r.processor.config.SubTopology.Application)
	}
	s.batch.SetCheckpoint(store.Checkpoint{
		Changelog: s.spec.Changelog, Partition: s.partition, TopicID: r.processor.topicIDs[s.spec.Name], Offset: s.next,
		Sequence: s.limit, WrittenAt: time.Now().UnixMilli(),
	})
	return s.write()
}
