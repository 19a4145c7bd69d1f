package bridge

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// open begins a session: departed instances' transactions are ended, the committed offsets read, the tasks restored.
func (p *Processor) open(session sarama.ConsumerGroupSession) error {
	ctx, group := session.Context(), p.config.SubTopology.Group
	if err := p.recover(ctx); err != nil {
		return err
	}
	topics := p.config.SubTopology.SourceTopics()
	offsets := groupOffsets{p.admin}
	stored, err := offsets.Committed(ctx, group, topics)
	if err != nil {
		return err
	}
	assigned := assignedPartitions(session)
	if err := p.checkRange(ctx, stored, assigned, topics); err != nil {
		return err
	}
	units, err := p.openTasks(ctx, assigned, stored, topics)
	if err != nil {
		return err
	}
	next := map[commit.Place]int64{}
	for place, offset := range stored {
		next[place] = offset.Next
	}
	opened := commit.NewSession(commit.Config{
		Member: commit.Member{Group: group, ID: session.MemberID(), InstanceID: p.config.InstanceID, Generation: session.GenerationID()},
		Topics: topics, Units: units, Producers: p.producers, Group: offsets, Next: next, Observer: p.config.Observer,
		MaxInterval: p.config.CommitInterval, MaxBytes: p.config.BufferBytes, CommitTimeout: p.config.CommitTimeout,
	})
	p.start(opened, units)
	p.logger.Info("tasks are running", "generation", session.GenerationID(), "partitions", assigned)
	p.config.Observer.Running(assigned)
	return nil
}

// start runs the session's goroutines: the committing one, the ticks, and the watch that ends the session on a failure.
func (p *Processor) start(opened *commit.Session, units []*commit.Unit) {
	p.runDone = make(chan struct{})
	runDone, endSession := p.runDone, p.endSession
	p.running.Go(func() {
		defer close(runDone)
		opened.Run(context.Background())
	})
	p.running.Go(func() {
		<-opened.Done()
		endSession()
	})
	if interval := tickInterval(units); interval > 0 {
		p.running.Go(func() { tick(opened, interval) })
	}
	p.mu.Lock()
	p.session = opened
	p.mu.Unlock()
}

// tickInterval is how often the tasks want to know the time; 0 if none does.
func tickInterval(units []*commit.Unit) time.Duration {
	var shortest int64
	for _, unit := range units {
		if interval, ok := unit.Task.HasTimers(); ok && (shortest == 0 || interval < shortest) {
			shortest = interval
		}
	}
	return time.Duration(shortest) * time.Millisecond
}

func tick(session *commit.Session, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			if session.Tick(now.UnixMilli()) != nil {
				return
			}
		case <-session.Done():
			return
		}
	}
}

// close ends the session, if one was opened, and returns why it had failed.
func (p *Processor) close() error {
	p.mu.Lock()
	session := p.session
	p.session = nil
	p.mu.Unlock()
	if session == nil {
		return nil
	}
	err := session.Close(context.Background(), p.runDone)
	p.running.Wait()
	if errors.Is(err, commit.ErrInstanceFenced) {
		return fmt.Errorf("%w (%s): stop the other process or give this one another instance id: %w", ErrInstanceInUse, p.config.InstanceID, err)
	}
	p.unclean = p.unclean || err != nil
	return err
}

// recover makes sure that no transaction is open that could hold offsets or changelog records of our partitions: our own
// after a session that failed, and those of instances that have left the group (rule 1).
func (p *Processor) recover(ctx context.Context) error {
	if p.unclean {
		for _, producer := range p.producers {
			if err := producer.Recover(ctx); err != nil {
				return fmt.Errorf("ending our own transactions: %w", err)
			}
		}
		p.unclean = false
	}
	return p.endDeparted(ctx)
}

// endDeparted ends the open transactions of instances that are not members of the group any more.
func (p *Processor) endDeparted(ctx context.Context) error {
	if p.config.Guarantee != ExactlyOnce {
		return nil
	}
	prefix := p.config.SubTopology.Group + "-"
	open, err := p.admin.OpenTransactions(ctx, prefix)
	if err != nil || len(open) == 0 {
		return err
	}
	_, members, err := p.admin.GroupMembers(ctx, p.config.SubTopology.Group)
	if err != nil {
		return err
	}
	departed := open[:0]
	for _, id := range open {
		instance := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(id, prefix), "-0"), "-1")
		present := slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == instance })
		if !present && instance != p.config.InstanceID {
			departed = append(departed, id)
		}
	}
	if len(departed) == 0 {
		return nil
	}
	p.logger.Info("ending transactions of departed instances", "transactions", departed)
	return p.admin.AbortTransactions(ctx, departed...)
}

// checkRange refuses committed offsets that the topics do not have (any more): reading on elsewhere would lose records.
func (p *Processor) checkRange(ctx context.Context, stored map[commit.Place]commit.StoredOffset, assigned []int32, topics []string) error {
	starts, err := p.admin.StartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	ends, err := p.admin.EndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	var wrong []error
	for _, topic := range topics {
		for _, number := range assigned {
			at, ok := stored[commit.Place{Topic: topic, Partition: number}]
			start, end := starts[topic][number], ends[topic][number]
			if ok && (at.Next < start || at.Next > end) {
				wrong = append(wrong, fmt.Errorf("%w: group %s is at offset %d of %s/%d, which has %d to %d: records were deleted unprocessed or the topic was made anew; if that is meant, run 'tidemill reset %s'",
					ErrOffsetOutOfRange, p.config.SubTopology.Group, at.Next, topic, number, start, end, p.config.SubTopology.Application))
			}
		}
	}
	return errors.Join(wrong...)
}

// openTasks opens and restores the tasks of the assigned partitions, all at once.
func (p *Processor) openTasks(ctx context.Context, assigned []int32, stored map[commit.Place]commit.StoredOffset, topics []string) ([]*commit.Unit, error) {
	restore := &restoration{processor: p}
	var units []*commit.Unit
	for _, number := range assigned {
		sequence, streamTime, found, foreign := uint64(0), int64(0), false, false
		for _, topic := range topics {
			if at, ok := stored[commit.Place{Topic: topic, Partition: number}]; ok {
				found, foreign = true, foreign || at.Foreign
				sequence, streamTime = max(sequence, at.Meta.Sequence), max(streamTime, at.Meta.StreamTime)
			}
		}
		engine, err := p.engine(number)
		if err != nil {
			return nil, err
		}
		restore.add(number, engine, sequence, found, foreign)
		made, err := task.New(task.Config{
			SubTopology: p.config.SubTopology, Partition: number, Partitions: p.partitions, Policy: p.config.Policy,
			Base: engine, Sequence: sequence, StreamTime: streamTime, OnRecordError: p.recordFailed,
		})
		if err != nil {
			return nil, err
		}
		units = append(units, &commit.Unit{Task: made, Engine: engine, Positions: map[string]int64{}, TopicIDs: p.topicIDs})
	}
	if err := restore.run(ctx); err != nil {
		return nil, fmt.Errorf("restoring the tasks of %s: %w", p.config.SubTopology.Group, err)
	}
	for _, unit := range units {
		for name, at := range restore.positions(unit.Task.Partition()) {
			unit.Positions[name] = at
		}
	}
	return units, nil
}

// engine returns the stores of a partition, opened once and kept open between sessions. What is corrupt is rebuilt.
func (p *Processor) engine(number int32) (store.Engine, error) {
	if engine, ok := p.engines[number]; ok {
		return engine, nil
	}
	dir := filepath.Join(p.config.Dir, strconv.Itoa(int(number)))
	engine, err := store.OpenLevelDB(dir, p.config.Store)
	if errors.Is(err, store.ErrCorrupt) {
		p.logger.Warn("the local state is corrupt and will be restored from the changelog", "partition", number, "error", err)
		if err := store.Destroy(dir); err != nil {
			return nil, fmt.Errorf("removing corrupt state of partition %d: %w", number, err)
		}
		engine, err = store.OpenLevelDB(dir, p.config.Store)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the stores of %s/%d: %w", p.config.SubTopology.Name, number, err)
	}
	p.engines[number] = engine
	return engine, nil
}

func assignedPartitions(session sarama.ConsumerGroupSession) []int32 {
	var assigned []int32
	for _, partitions := range session.Claims() {
		for _, number := range partitions {
			if !slices.Contains(assigned, number) {
				assigned = append(assigned, number)
			}
		}
	}
	slices.Sort(assigned)
	return assigned
}

// groupOffsets implements commit.Offsets.
type groupOffsets struct{ admin *log.Admin }

// Committed implements commit.Offsets.
func (g groupOffsets) Committed(ctx context.Context, group string, topics []string) (map[commit.Place]commit.StoredOffset, error) {
	positions, err := g.admin.CommittedOffsets(ctx, group, true, topics...)
	if err != nil {
		return nil, err
	}
	stored := map[commit.Place]commit.StoredOffset{}
	for _, topic := range topics {
		for number, at := range positions[topic] {
			parsed, err := meta.ParseOffset(at.Metadata)
			stored[commit.Place{Topic: topic, Partition: number}] = commit.StoredOffset{
				Next: at.Offset, Meta: parsed, Foreign: err != nil || at.Metadata == "",
			}
		}
	}
	return stored, nil
}
