package task

import "github.com/tidemill/tidemill/internal/graph"

// timer is one scheduled punctuator. Stream-time timers are armed by the first record, wall-clock ones by the first tick.
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
		if !timer.armed {
			timer.armed, timer.next = true, now+timer.Interval
			continue
		}
		if now < timer.next {
			continue
		}
		timer.next += (1 + (now-timer.next)/timer.Interval) * timer.Interval
		if err := t.call(func() error { return timer.Call(t.ctx, now) }); err != nil {
			return err
		}
	}
	return nil
}
