package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
)

// clock schedules two timers and writes down when they run.
func clock(runs *[]string) func(*harness) {
	return func(h *harness) {
		h.start = func(ctx *graph.Context) {
			for name, p := range map[string]graph.Punctuation{"stream": {Interval: 10}, "wall": {Interval: 100, WallClock: true}} {
				p.Call = func(ctx *graph.Context, now int64) error {
					*runs = append(*runs, fmt.Sprintf("%s@%d", name, now))
					ctx.State("rows").Put([]byte(name), fmt.Append(nil, now), nil)
					if now == 666 {
						return errBad
					}
					return nil
				}
				ctx.Schedule(p)
			}
		}
	}
}

// TestTimers run once for whatever time has passed, on a grid: multiples of the interval in stream time, counted from the first
// tick in wall-clock time.
func TestTimers(t *testing.T) {
	var runs []string
	h := newHarness(t, clock(&runs))
	idle := func(*graph.Context) error { return nil }
	if interval, ok := h.task.HasTimers(); !ok || interval != 100 {
		t.Errorf("ticks are wanted every %d ms, %v", interval, ok)
	}
	for _, timestamp := range []int64{103, 108, 112, 113, 122, 119, 123, 160, 162, 163} {
		h.must(h.step(timestamp, idle))
	}
	for _, now := range []int64{1000, 1099, 1100, 1350, 1300, 1399, 1400} {
		h.must(h.task.Tick(now))
	}
	want := "stream@103 stream@112 stream@122 stream@160 wall@1100 wall@1350 wall@1400"
	if got := strings.Join(runs, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := h.rows("rows"); got != "stream=160 wall=1400" {
		t.Errorf("got rows %s", got)
	}
	h.task.Reset(0, 100)
	runs = nil
	for _, timestamp := range []int64{105, 114, 115} {
		h.must(h.step(timestamp, idle))
	}
	if got := strings.Join(runs, " "); got != "stream@105 stream@114" {
		t.Errorf("after Reset got %s", got)
	}
}

// TestFailingTimers are the record's failure in stream time, and the task's in wall-clock time.
func TestFailingTimers(t *testing.T) {
	var runs []string
	h := newHarness(t, clock(&runs))
	idle := func(*graph.Context) error { return nil }
	h.must(h.step(600, idle))
	h.commit()
	if err := h.step(666, put("a", "1")); !errors.Is(err, errBad) {
		t.Errorf("got %v", err)
	}
	h.must(h.task.Tick(500))
	if err := h.task.Tick(666); !errors.Is(err, errBad) || !strings.Contains(fmt.Sprint(err), "punctuator") {
		t.Errorf("got %v", err)
	}
	if got := h.rows("rows"); got != "stream=600" {
		t.Errorf("failing timers left rows %s", got)
	}
}

// TestTicksHaveNoRecord shows punctuators a context without one.
func TestTicksHaveNoRecord(t *testing.T) {
	var seen []string
	h := newHarness(t, func(h *harness) {
		h.start = func(ctx *graph.Context) {
			ctx.Schedule(graph.Punctuation{Interval: 1, WallClock: true, Call: func(ctx *graph.Context, now int64) error {
				seen = append(seen, fmt.Sprintf("%q %d %d %d %v", ctx.Topic, ctx.Offset, ctx.Timestamp, ctx.WallTime, ctx.Headers))
				return nil
			}})
		}
	})
	h.must(h.step(70, put("a", "1")))
	h.must(h.task.Tick(1000))
	h.must(h.task.Tick(1001))
	if got := strings.Join(seen, "; "); got != `"" -1 70 1001 []` {
		t.Errorf("got %s", got)
	}
}
