package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/restore"
)

// The course of a run: commands and faults side by side, then no faults any more until everything is processed, then perhaps
// one crash alone, from which it must recover quickly.
const (
	healDeadline = 3 * time.Minute
	runDeadline  = 10 * time.Minute
)

// play runs the world.
func (w *world) play() {
	s, p := w.schedule, w.profile
	at := time.Duration(0)
	for range p.commands {
		at += s.between(0, 60*time.Millisecond)
		if s.chance(0.05) {
			at += s.between(0, 2*time.Second)
		}
		s.after(at, w.write)
	}
	end := at
	for range p.faults {
		when := s.between(0, at+time.Second)
		end = max(end, when)
		s.after(when, w.strike)
	}
	for range p.fences {
		when := s.between(0, at+time.Second)
		end = max(end, when)
		s.after(when, func() { w.faults++; w.brokers.fence(append([]commit.Place{offsetsPlace}, w.brokers.order...)) })
	}
	if p.long {
		w.absent = true
		s.after(at/3, w.longAbsence)
	}
	s.run(runDeadline, func() bool { return s.now > end && w.commands == p.commands && !w.absent })
	w.heal()
	w.settle("the faults are over", healDeadline)
	w.oracle.final()
	if p.calm != calmNone && s.failed == nil {
		w.calmCrash()
		w.oracle.final()
	}
}

// settle runs until everything is processed.
func (w *world) settle(since string, within time.Duration) {
	s := w.schedule
	if !s.run(s.now+within, w.quiet) {
		for number := range w.profile.partitions {
			place := commit.Place{Topic: w.input(), Partition: number}
			s.note("partition %d: committed %d of %d; open %v", number, w.brokers.group.offsets[place].next, w.brokers.partition(place).end(), w.brokers.openTransactions())
		}
		s.fail("stuck: not everything is processed %s after %s", within, since)
	}
}

// heal ends all faults. Something must be running.
func (w *world) heal() {
	w.schedule.note("no faults any more")
	w.healed = true
	clear(w.brokers.leaderless)
	now := w.schedule.now
	for _, p := range w.processes {
		p.stoppedUntil, p.cutUntil = min(p.stoppedUntil, now), min(p.cutUntil, now)
	}
	w.keepRunning()
}

// keepRunning starts an instance if none is running or about to.
func (w *world) keepRunning() {
	if len(w.lasting()) > 0 {
		return
	}
	for _, i := range w.schedule.random.Perm(len(w.machines)) {
		m := w.machines[i]
		if !slices.ContainsFunc(w.running(), func(p *process) bool { return p.machine.instance == m.instance }) {
			w.start(m)
			return
		}
	}
	w.join()
}

// lasting returns the processes that are there to stay.
func (w *world) lasting() (found []*process) {
	for _, p := range w.running() {
		if !p.superseded && !p.draining {
			found = append(found, p)
		}
	}
	return found
}

// stopped is told of a process that has ended by itself.
func (w *world) stopped(p *process) {
	if p.shared {
		w.survivor(p.machine.instance)
	}
	switch {
	case w.schedule.failed != nil:
	case p.ended == nil: // drained
		if w.healed {
			w.keepRunning()
		} else if w.schedule.chance(0.5) {
			w.restart(p.machine, w.schedule.between(10*time.Millisecond, 5*time.Second))
		}
	case p.shared && errors.Is(p.ended, commit.ErrInstanceFenced):
		w.keepRunning()
	case p.superseded && !fatal(p.ended):
	case fatal(p.ended):
		w.schedule.fail("%s has ended for good: %v", p.name, p.ended)
	default:
		w.restart(p.machine, w.schedule.between(50*time.Millisecond, time.Second))
	}
}

// restart starts a process on a machine later, if none is there then.
func (w *world) restart(m *machine, after time.Duration) {
	w.schedule.after(after, func() {
		for _, p := range w.running() {
			if p.machine.instance == m.instance && !p.superseded {
				return
			}
		}
		w.start(m)
	})
}

// strike does one bad thing.
func (w *world) strike() {
	s := w.schedule
	running := w.running()
	if len(running) == 0 {
		w.keepRunning()
		return
	}
	w.faults++
	p := running[s.random.IntN(len(running))]
	switch dice := s.random.IntN(100); {
	case dice < 40:
		w.crash(p)
	case dice < 55:
		p.stoppedUntil = s.now + s.between(100*time.Millisecond, 20*time.Second)
		p.note("is stopped for %s", p.stoppedUntil-s.now)
	case dice < 65:
		p.cutUntil = s.now + s.between(100*time.Millisecond, 15*time.Second)
		p.note("is cut off for %s", p.cutUntil-s.now)
	case dice < 75:
		p.clock += s.between(-2*time.Hour, 2*time.Hour)
		p.note("has a clock that is off by %s", p.clock)
	case dice < 82:
		p.note("is drained")
		p.draining = true
	case dice < 90:
		w.supersede(p)
	default:
		if len(running) < 4 {
			w.join()
		}
	}
}

// crash kills a process and perhaps harms its disks. It comes back, mostly.
func (w *world) crash(p *process) {
	s := w.schedule
	p.kill()
	if p.shared {
		w.survivor(p.machine.instance)
	}
	switch dice := s.random.IntN(10); {
	case dice < 2:
		for number := range w.profile.partitions {
			if d := p.machine.disks[number]; d != nil {
				d.losePower()
			}
		}
		s.note("%s has lost power", p.machine.instance)
	case dice < 4:
		for number := range w.profile.partitions {
			if d := p.machine.disks[number]; d != nil {
				d.lose()
			}
		}
		s.note("%s has lost its disk", p.machine.instance)
	default:
		for number := range w.profile.partitions {
			if d := p.machine.disks[number]; d != nil && d.unwritten > 0 {
				d.losePower()
				s.note("%s was killed with writes of partition %d in memory", p.machine.instance, number)
			}
		}
	}
	if !p.superseded && (len(w.running()) == 0 || !s.chance(0.25)) {
		after := s.between(10*time.Millisecond, 2*time.Second)
		if s.chance(0.3) {
			after = s.between(2*time.Second, 20*time.Second)
		}
		w.restart(p.machine, after)
	}
}

// supersede stops a process and starts another with its instance id elsewhere; then the first one goes on.
func (w *world) supersede(p *process) {
	s := w.schedule
	if p.superseded {
		return
	}
	p.superseded = true
	p.stoppedUntil = s.now + s.between(0, 3*time.Second)
	p.note("is replaced while it lives on")
	m := &machine{instance: p.machine.instance, disks: map[int32]*disk{}}
	for i := range w.machines {
		if w.machines[i] == p.machine {
			w.machines[i] = m
		}
	}
	p.shared = true
	w.start(m).shared = true
}

// survivor is called when one of two processes under one instance id has ended, mostly the older one. Who is left stays.
func (w *world) survivor(instance string) {
	var left *process
	for _, p := range w.running() {
		if p.machine.instance == instance && (left == nil || left.superseded) {
			left = p
		}
	}
	if left != nil {
		left.superseded = false
	}
}

// longAbsence takes an instance away for more than a week, while changelogs are compacted. The days pass when there is
// nothing left to do: a backlog older than the horizon of command ids is another story (docs/reliability.md).
func (w *world) longAbsence() {
	s, running := w.schedule, w.lasting()
	if len(running) == 0 {
		w.absent = false
		return
	}
	p := running[s.random.IntN(len(running))]
	p.kill()
	if p.shared {
		w.survivor(p.machine.instance)
	}
	w.join()
	s.after(w.profile.sessionTimeout+time.Second, func() { w.daysPass(p.machine, s.now+20*time.Second) })
}

// daysPass lets days pass as soon as it is quiet, or not at all; then the instance comes back and others go. Nobody is in the
// middle of a restore: one that took longer than tombstones live could not be right.
func (w *world) daysPass(away *machine, latest time.Duration) {
	s := w.schedule
	still := w.quiet() && !slices.ContainsFunc(w.running(), func(p *process) bool { return p.session != nil && p.session.session == nil })
	if !still && s.now < latest {
		s.after(5*time.Millisecond, func() { w.daysPass(away, latest) })
		return
	}
	if still {
		s.note("eight days pass")
		w.leapt += 8 * 24 * time.Hour
		w.compact()
	}
	s.after(time.Second, w.compact)
	w.restart(away, 2*time.Second)
	s.after(2*time.Second, func() {
		for _, other := range w.running() {
			if other.machine != away && s.chance(0.7) {
				other.draining = true
			}
		}
		w.absent = false
	})
}

func (w *world) compact() {
	now := w.appendTime()
	for number := range w.profile.partitions {
		removed := w.brokers.partition(commit.Place{Topic: w.changelog(), Partition: number}).compact(now, compactionLag, tombstoneAge)
		w.schedule.note("broker: compaction of partition %d removes %d records", number, removed)
	}
}

// calmCrash takes one instance away in the middle of a transaction, with nothing else wrong, and wants the rest to be quick.
func (w *world) calmCrash() {
	s, kind := w.schedule, w.profile.calm
	if !w.steadied() {
		return
	}
	if kind != calmRestart && len(w.lasting()) < 2 {
		w.join()
		if !w.steadied() {
			return
		}
	}
	var victim *process
	for range 10 {
		w.write()
	}
	caught := s.run(s.now+recoveryDeadline, func() bool {
		victim = w.committing()
		return victim != nil
	})
	if !caught {
		s.fail("stuck: no transaction begins within %s", recoveryDeadline)
		return
	}
	if s.chance(0.5) {
		s.run(s.now+s.between(0, 4*time.Millisecond), func() bool { return false })
	}
	deadline := recoveryDeadline
	switch kind {
	case calmDrained:
		victim.note("is drained, with nothing else wrong")
		victim.draining = true
	case calmDeparted:
		victim.kill()
		deadline += w.profile.sessionTimeout
	default:
		victim.kill()
		w.restart(victim.machine, 50*time.Millisecond)
	}
	for i := range 10 {
		s.after(time.Duration(i)*20*time.Millisecond, w.write)
	}
	before := w.commands
	s.run(s.now+time.Second, func() bool { return w.commands == before+10 })
	w.settle("one crash alone", deadline)
}

// committing returns a process with an undecided transaction that holds offsets or records.
func (w *world) committing() *process {
	for _, p := range w.lasting() {
		for turn := range w.profile.producers {
			id := w.brokers.ids[restore.TransactionalID(w.sub.Group, p.machine.instance, turn)]
			if id != nil && id.open != nil && id.open.fate == undecided {
				return p
			}
		}
	}
	return nil
}

// steadied waits until it is steady.
func (w *world) steadied() bool {
	s := w.schedule
	if s.run(s.now+healDeadline, w.steady) {
		return true
	}
	for _, p := range w.running() {
		s.note("%s: superseded %v, draining %v, in a session %v", p.name, p.superseded, p.draining, p.session != nil && p.session.session != nil)
	}
	for _, m := range w.brokers.group.members {
		s.note("group: member %+v, preparing %v", *m, w.brokers.group.preparing)
	}
	s.fail("stuck: not all instances come to run; quiet is %v", w.quiet())
	return false
}

// steady tells whether all instances run, nobody else is in the group, and there is nothing to do.
func (w *world) steady() bool {
	for _, p := range w.lasting() {
		if p.session == nil || p.session.session == nil || p.session.session.Err() != nil {
			return false
		}
	}
	g, lasting := w.brokers.group, w.lasting()
	for _, m := range g.members {
		// A process that lives on after it was replaced may not know yet that its member is another one's, which may be gone.
		if !slices.ContainsFunc(lasting, func(p *process) bool { return p.memberID == m.id }) {
			return false
		}
	}
	return len(lasting) == len(w.running()) && len(lasting) == len(g.members) && !g.preparing && w.quiet()
}
