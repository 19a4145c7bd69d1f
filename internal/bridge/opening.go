package bridge

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/task"
)

// open begins a session: departed instances' transactions are ended, the committed offsets read, the tasks restored.
func (p *Processor) open(session sarama.ConsumerGroupSession) error {
	ctx, group := session.Context(), p.config.SubTopology.Group
	member := commit.Member{Group: group, ID: session.MemberID(), InstanceID: p.config.InstanceID, Generation: session.GenerationID()}
	p.memberID = member.ID
	if err := p.recover(ctx); err != nil {
		return err
	}
	if err := p.checkTopics(ctx); err != nil {
		return err
	}
	topics := p.config.SubTopology.SourceTopics()
	offsets := groupOffsets{admin: p.admin, client: p.client}
	stored, err := offsets.Committed(ctx, group, topics)
	if err != nil {
		return err
	}
	assigned := assignedPartitions(session)
	restoring := p.restoring()
	source := changelogs{processor: p, offsets: offsets, member: member}
	starts, ends, err := source.Bounds(ctx, topics)
	if err != nil {
		return err
	}
	next, err := restore.Inputs(restoring, topics, assigned, stored, starts, ends)
	if err != nil {
		return restore.Final(ctx, offsets, member, err)
	}
	standings := map[int32]restore.Standing{}
	for _, number := range assigned {
		standings[number] = restore.StandingOf(number, topics, stored)
	}
	units, err := p.openTasks(ctx, restoring, source, assigned, standings)
	if err != nil {
		return restore.Final(ctx, offsets, member, err)
	}
	if err := p.commitFirst(ctx, member, restore.Unstarted(standings, next)); err != nil {
		return err
	}
	opened := commit.NewSession(commit.Config{
		Member: member, Topics: topics, Units: units, Producers: p.producers, Group: offsets, Next: next, Observer: p.config.Observer,
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
		opened.Run()
	})
	p.running.Go(func() {
		<-opened.Done()
		endSession()
	})
	p.running.Go(func() { p.measure(opened, units) })
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

// stopTimeout bounds the last commit when the processor is told to stop. What it does not finish is ended and stepped again
// by whoever has the partitions next.
const stopTimeout = 1250 * time.Millisecond

// close ends the session, if one was opened, and returns why it had failed. ctx bounds its last commit.
func (p *Processor) close(ctx context.Context) error {
	p.mu.Lock()
	session := p.session
	p.session = nil
	p.mu.Unlock()
	if session == nil {
		return nil
	}
	err := session.Close(ctx, p.runDone)
	p.running.Wait()
	if errors.Is(err, commit.ErrInstanceFenced) {
		err = p.inUse(err)
	}
	p.unclean = p.unclean || err != nil
	return err
}

func (p *Processor) inUse(err error) error {
	return fmt.Errorf("%w (%s): stop the other process or give this one another instance id: %w", ErrInstanceInUse, p.config.InstanceID, err)
}

// recover makes sure that no transaction is open that could hold offsets or changelog records of our partitions: our own
// after a session that failed, and those of instances that have left the group (rule 1).
func (p *Processor) recover(ctx context.Context) error {
	if err := p.recoverOwn(ctx); err != nil {
		return err
	}
	return p.endDeparted(ctx, p.unstable)
}

func (p *Processor) recoverOwn(ctx context.Context) error {
	if !p.unclean {
		return nil
	}
	for _, producer := range p.producers {
		if err := producer.Recover(ctx); err != nil {
			return fmt.Errorf("ending our own transactions: %w", err)
		}
	}
	p.unclean = false
	return nil
}

// checkTopics refuses topics that have changed while we ran: offsets and state are those of the old ones, and keys stay on
// their partitions only as long as their number does.
func (p *Processor) checkTopics(ctx context.Context) error {
	for name, id := range p.topicIDs {
		now, err := p.admin.Describe(ctx, name)
		if err != nil {
			return err
		}
		if now.ID != id {
			restoring := p.restoring()
			return restoring.Recreated(name)
		}
		if now.Partitions != p.partitions {
			return fmt.Errorf("%w: topic %s had %d partitions and has %d now: keys are on other partitions than their state; keep the number, or run 'tidemill reset %s' and begin again with the new one everywhere",
				log.ErrPartitionMismatch, name, p.partitions, now.Partitions, p.config.SubTopology.Application)
		}
	}
	return nil
}

// restoring says how tasks are restored.
func (p *Processor) restoring() restore.Config {
	return restore.Config{
		Group: p.config.SubTopology.Group, Application: p.config.SubTopology.Application, Dir: p.config.Dir,
		TopicIDs: p.topicIDs, TombstoneAge: p.config.TombstoneAge, DeferBytes: restoreBytes(), Now: time.Now, Progress: p.config.Observer.Restoring,
		Doubted: func(store string, partition int32, because string) {
			p.logger.Warn("the local state is not believed and will be restored from the changelog", "store", store, "partition", partition, "because", because)
		},
	}
}

// restoreBytes returns how much restored state may be in memory only when the tasks start to work: less where the process's
// memory is limited (GOMEMLIMIT).
func restoreBytes() int { return int(min(maxRestoreBytes, debug.SetMemoryLimit(-1)/8)) }

const maxRestoreBytes = 128 << 20

// maxRecordBytes is a little less than what the producers take, and brokers as they are set by default.
const maxRecordBytes = 1_000_000

// openTasks opens and restores the tasks of the assigned partitions, all at once.
func (p *Processor) openTasks(ctx context.Context, restoring restore.Config, source restore.Source, assigned []int32, standings map[int32]restore.Standing) ([]*commit.Unit, error) {
	ids := map[string][16]byte{}
	for _, spec := range p.config.SubTopology.Stores {
		ids[spec.Name] = p.topicIDs[spec.Changelog]
	}
	restoration := restore.New(restoring)
	var units []*commit.Unit
	engines, err := p.engines.open(assigned...)
	if err != nil {
		return nil, err
	}
	for i, number := range assigned {
		at, engine := standings[number], engines[i]
		restoration.Add(number, p.config.SubTopology.Stores, engine, at)
		made, err := task.New(task.Config{
			SubTopology: p.config.SubTopology, Partition: number, Partitions: p.partitions, Policy: p.config.Policy,
			Base: engine, Sequence: at.Sequence, StreamTime: at.StreamTime, OnRecordError: p.recordFailed,
			MaxRecordBytes: maxRecordBytes, CacheBytes: p.config.CacheBytes / max(1, len(assigned)),
		})
		if err != nil {
			return nil, err
		}
		units = append(units, &commit.Unit{
			Task: made, Engine: engine, TopicIDs: ids, Sequence: at.Sequence, StreamTime: at.StreamTime,
		})
	}
	if err := restoration.Run(ctx, source); err != nil {
		return nil, fmt.Errorf("restoring the tasks of %s: %w", p.config.SubTopology.Group, err)
	}
	for _, unit := range units {
		unit.Positions = restoration.Positions(unit.Task.Partition())
	}
	return units, nil
}

// commitFirst commits where the tasks begin that the group has no offset of.
func (p *Processor) commitFirst(ctx context.Context, member commit.Member, first map[commit.Place]int64) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.CommitTimeout)
	defer cancel()
	err := commit.First(ctx, p.producers[0], member, first)
	p.unclean = p.unclean || err != nil
	return err
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
