package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
)

// open begins a session: departed instances' transactions are ended, the committed offsets read, the tasks restored.
func (p *Processor) open(session sarama.ConsumerGroupSession) error {
	ctx, group := session.Context(), p.config.SubTopology.Group
	member := commit.Member{Group: group, ID: session.MemberID(), InstanceID: p.config.InstanceID, Generation: session.GenerationID()}
	if err := p.recover(ctx); err != nil {
		return err
	}
	if err := p.checkTopicIDs(ctx); err != nil {
		return err
	}
	topics := p.config.SubTopology.SourceTopics()
	offsets := groupOffsets{admin: p.admin, client: p.client}
	stored, err := offsets.Committed(ctx, group, topics)
	if err != nil {
		return err
	}
	assigned := assignedPartitions(session)
	next, err := p.positions(ctx, stored, assigned, topics)
	if err != nil {
		return err
	}
	standings := map[int32]standing{}
	for _, number := range assigned {
		standings[number] = standingOf(number, topics, stored)
	}
	units, err := p.openTasks(ctx, assigned, standings)
	if err != nil {
		return err
	}
	if err := p.commitFirst(ctx, member, standings, next); err != nil {
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

// standingOf gathers what the offsets of all topics say of one task: each commit writes all of them.
func standingOf(number int32, topics []string, stored map[commit.Place]commit.StoredOffset) (s standing) {
	for _, topic := range topics {
		if at, ok := stored[commit.Place{Topic: topic, Partition: number}]; ok {
			s.found, s.foreign = true, s.foreign || at.Foreign
			s.sequence, s.streamTime = max(s.sequence, at.Meta.Sequence), max(s.streamTime, at.Meta.StreamTime)
		}
	}
	return s
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
const stopTimeout = 3 * time.Second

// close ends the session, if one was opened, and returns why it had failed. stopping ends when the processor is told to stop.
func (p *Processor) close(stopping context.Context) error {
	p.mu.Lock()
	session := p.session
	p.session = nil
	p.mu.Unlock()
	if session == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(stopping, func() { time.AfterFunc(stopTimeout, cancel) })()
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

// checkTopicIDs refuses topics that were made anew while we ran: offsets and state are those of the old ones.
func (p *Processor) checkTopicIDs(ctx context.Context) error {
	for topic, id := range p.topicIDs {
		now, err := p.admin.Describe(ctx, topic)
		if err != nil {
			return err
		}
		if now.ID != id {
			return p.recreated(topic)
		}
	}
	return nil
}

func (p *Processor) recreated(topic string) error {
	return fmt.Errorf("%w: %s is not the topic that the offsets of group %s and the state in %s follow from; if that is meant, run 'tidemill reset %s'",
		ErrTopicRecreated, topic, p.config.SubTopology.Group, p.config.Dir, p.config.SubTopology.Application)
}

// positions returns where each assigned partition of each topic is to be read from: the committed offset, or the first
// there is. It refuses committed offsets that the topics do not have (any more): reading on elsewhere would lose records.
func (p *Processor) positions(ctx context.Context, stored map[commit.Place]commit.StoredOffset, assigned []int32, topics []string) (map[commit.Place]int64, error) {
	starts, err := p.admin.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := p.admin.EndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	next := map[commit.Place]int64{}
	var wrong []error
	for _, topic := range topics {
		for _, number := range assigned {
			place := commit.Place{Topic: topic, Partition: number}
			start, end := starts[topic][number], ends[topic][number]
			at, ok := stored[place]
			if !ok {
				next[place] = start
				continue
			}
			if next[place] = at.Next; at.Next < start || at.Next > end {
				wrong = append(wrong, fmt.Errorf("%w: group %s is at offset %d of %s/%d, which has %d to %d: records were deleted unprocessed or the topic was made anew; if that is meant, run 'tidemill reset %s'",
					ErrOffsetOutOfRange, p.config.SubTopology.Group, at.Next, topic, number, start, end, p.config.SubTopology.Application))
			}
		}
	}
	return next, errors.Join(wrong...)
}

// openTasks opens and restores the tasks of the assigned partitions, all at once.
func (p *Processor) openTasks(ctx context.Context, assigned []int32, standings map[int32]standing) ([]*commit.Unit, error) {
	ids := map[string][16]byte{}
	for _, spec := range p.config.SubTopology.Stores {
		ids[spec.Name] = p.topicIDs[spec.Changelog]
	}
	restore := &restoration{processor: p}
	var units []*commit.Unit
	for _, number := range assigned {
		at := standings[number]
		engine, err := p.engines.open(number)
		if err != nil {
			return nil, err
		}
		restore.add(number, engine, at)
		made, err := task.New(task.Config{
			SubTopology: p.config.SubTopology, Partition: number, Partitions: p.partitions, Policy: p.config.Policy,
			Base: engine, Sequence: at.sequence, StreamTime: at.streamTime, OnRecordError: p.recordFailed,
		})
		if err != nil {
			return nil, err
		}
		units = append(units, &commit.Unit{
			Task: made, Engine: engine, Positions: map[string]int64{}, TopicIDs: ids, Sequence: at.sequence, StreamTime: at.streamTime,
		})
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

// commitFirst commits where the tasks begin that the group has no offset of. From then on an offset that is missing has been
// lost: a changelog with records tells so, whatever its transactions.
func (p *Processor) commitFirst(ctx context.Context, member commit.Member, standings map[int32]standing, next map[commit.Place]int64) error {
	first := log.Positions{}
	for place, offset := range next {
		if at := standings[place.Partition]; !at.found {
			first.Set(place.Topic, place.Partition, log.Position{Offset: offset, LeaderEpoch: -1, Metadata: meta.Offset{}.String()})
		}
	}
	if len(first) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Log.WithDefaults().RequestTimeout)
	defer cancel()
	return translate(log.OffsetCommit(ctx, p.client, logMember(member), first))
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
