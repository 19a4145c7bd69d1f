package task

import "github.com/tidemill/tidemill/internal/graph"

// timer is one scheduled punctuator. As in Kafka Streams, the first record runs a stream-time timer at once, and its further
// runs lie on multiples of the interval since the epoch: so it runs and keeps its times however often the task is restarted.
// A wall-clock timer runs an interval after the first tick, and so on from there.
type timer struct {
	graph.Punctuation
	armed bool
	next  int64 // milliseconds
}

func (t *timer) reset() { t.armed = false }

// Schedule implements graph.Runtime.
func (t *Task) Schedule(p graph.Punctuation) {
	if p.Interval <= 0 || p.Call == nil {
		panic("task: a punctuator needs an interval above 0 and a function")
	}
	t.timers = append(t.timers, &timer{Punctuation: p})
}

// punctuate runs the timers of one kind that are due. A timer that has missed several intervals runs once, as in Kafka
// Streams, and is then due one interval after now, on its own grid.
func (t *Task) punctuate(wallClock bool, now int64) error {
	for _, timer := range t.timers {
		if timer.WallClock != wallClock {
			continue
		}
		switch {
		case !timer.armed && wallClock:
			timer.armed, timer.next = true, now+timer.Interval
			continue
		case !timer.armed:
			timer.armed, timer.next = true, now-now%timer.Interval+timer.Interval
		case now < timer.next:
			continue
		default:
			timer.next += (1 + (now-timer.next)/timer.Interval) * timer.Interval
		}
		if err := t.call(func() error { return timer.Call(t.ctx, now) }); err != nil {
			return err
		}
	}
	return nil
}
