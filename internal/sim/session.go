package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/internal/transact"
)

// session is one generation of a process, as package bridge opens and closes it.
type session struct {
	process  *process
	member   commit.Member
	assigned []int32
	ctx      context.Context // ends when the group goes on without us
	cancel   context.CancelFunc
	lost     error // why a heartbeat has ended it

	session    *commit.Session
	committing bool
	units      []*commit.Unit
}

// heartbeats keeps the member in the group and ends the session when the group goes on.
func (s *session) heartbeats(c *coroutine) {
	who := transact.LogMember(s.member)
	for s.ctx.Err() == nil && s.process.session == s {
		_, err := call(c, func() (bool, error) { return true, s.process.world.brokers.group.heartbeat(who) })
		if err != nil && !errors.Is(err, errNoAnswer) && !errors.Is(err, errNoLeader) {
			if s.lost = err; !errors.Is(err, errRejoin) {
				s.process.memberID = ""
			}
			s.cancel()
			return
		}
		c.sleep(c.schedule.between(5*time.Millisecond, 300*time.Millisecond))
	}
}

// open restores the tasks and starts them.
func (s *session) open(c *coroutine) error {
	p, w := s.process, s.process.world
	if err := s.recoverOwn(); err != nil {
		return err
	}
	if err := s.endDeparted(c, s.process.unstable); err != nil {
		return err
	}
	topics := w.sub.SourceTopics()
	stored, err := s.Committed(s.ctx, s.member.Group, topics)
	if err != nil {
		return err
	}
	config := restore.Config{
		Group: s.member.Group, Application: w.sub.Application, TopicIDs: w.topicIDs, TombstoneAge: tombstoneAge, DeferBytes: 1 << 20, Now: p.wall,
		Doubted: func(name string, number int32, because string) {
			p.note("store %s/%d is wiped: %s", name, number, because)
		},
	}
	starts, ends, err := changelogs{s}.Bounds(s.ctx, topics)
	if err != nil {
		return err
	}
	next, err := restore.Inputs(config, topics, s.assigned, stored, starts, ends)
	if err != nil {
		return restore.Final(s.ctx, s, s.member, err)
	}
	standings := map[int32]restore.Standing{}
	for _, number := range s.assigned {
		standings[number] = restore.StandingOf(number, topics, stored)
	}
	if err := s.restore(config, standings); err != nil {
		return restore.Final(s.ctx, s, s.member, err)
	}
	if err := commit.First(s.ctx, p.producers[0], s.member, restore.Unstarted(standings, next)); err != nil {
		return err
	}
	s.session = commit.NewSession(commit.Config{
		Member: s.member, Topics: topics, Units: s.units, Producers: p.producers, Group: s, Next: next, Observer: s,
		MaxBytes: 1 << 30, CommitTimeout: time.Hour, Now: p.wall,
	})
	s.start(next)
	return nil
}

// recoverOwn ends our own transactions after a session that failed.
func (s *session) recoverOwn() error {
	if !s.process.unclean {
		return nil
	}
	for _, producer := range s.process.producers {
		if err := producer.Recover(s.ctx); err != nil {
			return err
		}
	}
	s.process.unclean = false
	return nil
}

func (s *session) restore(config restore.Config, standings map[int32]restore.Standing) error {
	w := s.process.world
	restoration := restore.New(config)
	for _, number := range s.assigned {
		at, engine := standings[number], s.process.engine(number)
		restoration.Add(number, w.sub.Stores, engine, at)
		made, err := task.New(task.Config{
			SubTopology: w.sub, Partition: number, Partitions: w.profile.partitions, Base: engine, Sequence: at.Sequence, StreamTime: at.StreamTime,
		})
		if err != nil {
			return err
		}
		ids := map[string][16]byte{}
		for _, spec := range w.sub.Stores {
			ids[spec.Name] = w.topicIDs[spec.Changelog]
		}
		s.units = append(s.units, &commit.Unit{
			Task: made, Engine: engine, TopicIDs: ids, Sequence: at.Sequence, StreamTime: at.StreamTime,
		})
	}
	if err := restoration.Run(s.ctx, changelogs{s}); err != nil {
		return err
	}
	for _, unit := range s.units {
		unit.Positions = restoration.Positions(unit.Task.Partition())
	}
	return nil
}

// endDeparted ends open transactions of instances that have left the group (rule 1). Open is also one that the coordinator has
// done with, and a partition has not. held is how many times one has held up the
// session: then our own ids are initialised again too.
func (s *session) endDeparted(c *coroutine, held int) error {
	p, b, group := s.process, s.process.world.brokers, s.member.Group
	open, err := retry(s.ctx, c, func() ([]string, error) { return b.openAnywhere(p.unstable > unstablePatience) })
	if err != nil || len(open) == 0 {
		return err
	}
	if held > 0 && restore.Own(group, p.machine.instance, open) {
		p.unclean = true
		if err := s.recoverOwn(); err != nil {
			return err
		}
	}
	present, err := retry(s.ctx, c, func() (map[string]bool, error) {
		if !b.led(offsetsPlace) {
			return nil, errNoLeader
		}
		found := map[string]bool{}
		for _, m := range b.group.members {
			found[m.instance] = true
		}
		return found, nil
	})
	if err != nil {
		return err
	}
	if !restore.Turn(p.machine.instance, slices.Collect(maps.Keys(present)), held) {
		return nil
	}
	for id := range p.takeovers {
		if instance, _ := restore.InstanceOf(group, id); present[instance] {
			delete(p.takeovers, id)
		}
	}
	for _, id := range restore.Departed(group, p.machine.instance, open, func(instance string) bool { return present[instance] }) {
		p.note("ends the transaction of %s, which has departed", id)
		if err := p.takeOver(s.ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// start starts what runs beside the main thread.
func (s *session) start(next map[commit.Place]int64) {
	w := s.process.world
	for _, topic := range w.sub.SourceTopics() {
		for _, number := range s.assigned {
			place := commit.Place{Topic: topic, Partition: number}
			w.schedule.spawn(s.process, func(c *coroutine) { s.step(c, place, next[place]) })
		}
	}
	w.schedule.spawn(s.process, s.commits)
	w.schedule.spawn(s.process, s.ticks)
}

// step feeds one input partition to its task.
func (s *session) step(c *coroutine, place commit.Place, from int64) {
	p := s.process.world.brokers.partition(place)
	for s.session.Err() == nil {
		entries, next := p.fetch(from, 1+c.schedule.random.IntN(12))
		if !s.process.world.brokers.led(place) {
			entries, next = nil, from
		}
		if len(entries) == 0 && next == from {
			c.sleep(c.schedule.between(200*time.Microsecond, 10*time.Millisecond))
			continue
		}
		var records []task.Record
		for _, e := range entries {
			if !e.marker {
				records = append(records, e.record)
			}
		}
		c.sleep(s.process.latency()) // what was fetched waits in a queue
		if err := s.session.Process(place.Partition, records); err != nil {
			if !errors.Is(err, commit.ErrClosed) {
				s.process.note("stepping %v: %v", place, err)
			}
			return
		}
		from = next
	}
}

// commits is the committing thread.
func (s *session) commits(c *coroutine) {
	idle := c.schedule.now
	for s.session.Err() == nil {
		c.sleep(c.schedule.between(100*time.Microsecond, 5*time.Millisecond))
		if s.session.Err() != nil {
			return
		}
		s.committing = true
		if c.schedule.now-idle > time.Hour {
			idle = c.schedule.now
			_ = s.session.Date() // it fails the session
		}
		_, _, err := s.session.CommitOnce()
		s.committing = false
		if err != nil {
			return
		}
	}
}

func (s *session) ticks(c *coroutine) {
	for s.session.Err() == nil {
		if s.session.Tick(s.process.wall().UnixMilli()) != nil {
			return
		}
		c.sleep(time.Second)
	}
}

// close ends the session as Session.Close does.
func (s *session) close(c *coroutine) error {
	s.session.Shut()
	for s.committing {
		c.sleep(100 * time.Microsecond)
	}
	return s.session.Finish()
}

// Committed implements commit.Offsets.
func (s *session) Committed(ctx context.Context, _ string, _ []string) (map[commit.Place]commit.StoredOffset, error) {
	found, err := retry(ctx, s.process.current(), s.process.world.brokers.group.fetch)
	if err != nil {
		return nil, err
	}
	stored := map[commit.Place]commit.StoredOffset{}
	for place, at := range found {
		parsed, err := meta.ParseOffset(at.metadata)
		stored[place] = commit.StoredOffset{Next: at.next, Meta: parsed, Foreign: err != nil || at.metadata == ""}
	}
	return stored, nil
}

// Current implements commit.Offsets.
func (s *session) Current(_ context.Context, member commit.Member) error {
	who := transact.LogMember(member)
	_, err := call(s.process.current(), func() (bool, error) { return true, s.process.world.brokers.group.heartbeat(who) })
	switch {
	case err == nil, errors.Is(err, errRejoin):
		return nil
	case errors.Is(err, log.ErrInstanceFenced):
		return fmt.Errorf("%w: %w", commit.ErrInstanceFenced, err)
	}
	return fmt.Errorf("%w: %w", commit.ErrFenced, err)
}

// changelogs implements restore.Source.
type changelogs struct{ *session }

// Current implements restore.Source.
func (s changelogs) Current(ctx context.Context) error { return s.session.Current(ctx, s.member) }

// Bounds implements restore.Source.
func (s changelogs) Bounds(ctx context.Context, topics []string) (starts, ends map[commit.Place]int64, err error) {
	b := s.process.world.brokers
	starts = map[commit.Place]int64{} // nothing is ever deleted from the beginning
	ends, err = retry(ctx, s.process.current(), func() (map[commit.Place]int64, error) {
		found := map[commit.Place]int64{}
		for _, topic := range topics {
			for number := range b.profile.partitions {
				place := commit.Place{Topic: topic, Partition: number}
				if !b.led(place) {
					return nil, errNoLeader
				}
				found[place] = b.partition(place).end()
			}
		}
		return found, nil
	})
	return starts, ends, err
}

// Read implements restore.Source.
func (s changelogs) Read(ctx context.Context, pending map[commit.Place]*restore.Store) error {
	c, b := s.process.current(), s.process.world.brokers
	looked, held := c.schedule.now, 0
	for len(pending) > 0 {
		c.sleep(s.process.latency())
		if ctx.Err() != nil {
			return fmt.Errorf("the session has ended: %w", ctx.Err())
		}
		read := 0
		for _, place := range b.order {
			store, ok := pending[place]
			if !ok || !b.led(place) {
				continue
			}
			entries, next := b.partition(place).fetch(store.Next(), 1+c.schedule.random.IntN(20))
			for _, e := range entries {
				if err := store.Apply(e.record, e.marker); err != nil {
					return err
				}
			}
			if read += len(entries); len(entries) == 0 {
				store.Passed(next)
			}
			if err := store.Flush(); err != nil {
				return err
			}
			if store.Done() {
				delete(pending, place)
			}
		}
		if read == 0 && c.schedule.now-looked > time.Second {
			held++
			if err := s.endDeparted(c, held); err != nil {
				return err
			}
			looked = c.schedule.now
		}
	}
	return nil
}

// TransactionCommitted implements commit.Observer.
func (s *session) TransactionCommitted(records, _ int, _ time.Duration) {
	s.process.note("has committed %d records", records)
}

// TransactionFailed implements commit.Observer.
func (s *session) TransactionFailed(err error) { s.process.note("has failed: %v", err) }
