package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// schedule runs everything on one goroutine in virtual time: events in the order of their time, and coroutines that give up
// the processor only where they wait. All randomness comes from one seed, so that the seed is the run.
type schedule struct {
	random   *rand.Rand
	now      time.Duration // since the beginning of the run
	events   queue
	count    uint64
	notes    []string // the last of what happened
	executed int
	noted    int
	keep     int // how many notes are kept
	failed   error
	current  *coroutine // the one that runs
}

type event struct {
	at    time.Duration
	order uint64
	run   func()
}

// queue is a heap of events.
type queue []event

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(event)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

func newSchedule(seed uint64, keep int) *schedule {
	return &schedule{random: rand.New(rand.NewPCG(seed, 0x5eed)), keep: keep}
}

// mostEvents is far more than any run needs.
const mostEvents = 5_000_000

// after runs a function later.
func (s *schedule) after(delay time.Duration, run func()) {
	s.count++
	heap.Push(&s.events, event{at: s.now + delay, order: s.count, run: run})
}

// run runs events until the condition holds, nothing is left, something has failed or the time is over. It reports whether
// the condition holds.
func (s *schedule) run(until time.Duration, done func() bool) bool {
	for s.failed == nil {
		if done() {
			return true
		}
		if len(s.events) == 0 || s.events[0].at > until {
			return false
		}
		if s.executed++; s.executed > mostEvents {
			s.fail("stuck: it goes on for ever")
			return false
		}
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.run()
	}
	return false
}

// fail ends the run: an invariant does not hold.
func (s *schedule) fail(format string, args ...any) {
	if s.failed == nil {
		s.failed = fmt.Errorf(format, args...)
		s.note("FAILED: %v", s.failed)
	}
}

// note adds a line to the story of the run.
func (s *schedule) note(format string, args ...any) {
	if s.keep == 0 {
		return
	}
	line := fmt.Sprintf("%12.6f ", s.now.Seconds()) + fmt.Sprintf(format, args...)
	if len(s.notes) < s.keep {
		s.notes = append(s.notes, line)
	} else {
		s.notes[s.noted%s.keep] = line
	}
	s.noted++
}

// story returns the last notes, oldest first.
func (s *schedule) story() []string {
	if s.noted <= s.keep {
		return s.notes
	}
	first := s.noted % s.keep
	return append(append([]string(nil), s.notes[first:]...), s.notes[:first]...)
}

// chance is true with a probability.
func (s *schedule) chance(probability float64) bool { return s.random.Float64() < probability }

// between returns a duration in [from, to).
func (s *schedule) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.random.Int64N(int64(to-from)))
}

// coroutine is one thread of a process.
type coroutine struct {
	schedule *schedule
	process  *process
	resume   func() (struct{}, bool)
	stop     func()
	yield    func(struct{}) bool
	ended    bool
}

// killed unwinds a coroutine whose process was killed.
type killed struct{}

// spawn starts a coroutine. It ends when its body returns or the process is killed, wherever it waits.
func (s *schedule) spawn(owner *process, body func(*coroutine)) {
	c := &coroutine{schedule: s, process: owner}
	c.resume, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		defer func() {
			c.ended = true
			if r := recover(); r != nil {
				if _, ok := r.(killed); !ok {
					s.fail("a panic: %v", r)
				}
			}
		}()
		body(c)
	})
	owner.coroutines = append(owner.coroutines, c)
	s.after(s.between(0, 50*time.Microsecond), c.wake)
}

// wake lets the coroutine go on, later if its process is stopped.
func (c *coroutine) wake() {
	if c.ended {
		return
	}
	if c.process.stoppedUntil > c.schedule.now {
		c.schedule.after(min(c.process.stoppedUntil-c.schedule.now, 50*time.Millisecond), c.wake)
		return
	}
	c.schedule.current = c
	c.resume()
	c.schedule.current = nil
}

// sleep waits. Everything else may happen meanwhile.
func (c *coroutine) sleep(d time.Duration) {
	c.schedule.after(d, c.wake)
	if !c.yield(struct{}{}) {
		panic(killed{})
	}
}

// pause waits for a short, random time.
func (c *coroutine) pause(most time.Duration) { c.sleep(c.schedule.between(0, most)) }

// kill ends the coroutine where it waits. It must not be the one that runs.
func (c *coroutine) kill() {
	if !c.ended {
		c.stop()
		c.ended = true
	}
}
