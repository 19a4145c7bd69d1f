package task_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/task"
)

// model is what a store must look like: the committed rows, those being committed, those being worked on.
type model struct{ base, lower, upper map[string]string }

// TestLayersAgainstModel does random steps, commits and aborts and compares every read with a model of plain maps.
func TestLayersAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(20) {
		seed := seed + round
		random := rand.New(rand.NewPCG(seed, 0))
		h := newHarness(t, nil)
		m := model{base: map[string]string{}, lower: map[string]string{}, upper: map[string]string{}}
		var sealed *task.Layer
		var sealedStreamTime int64
		sequence, committed := uint64(0), uint64(0)
		for i := range 400 {
			where := fmt.Sprintf("seed %d, action %d", seed, i)
			switch random.IntN(20) {
			case 0:
				if sealed == nil {
					if sealed = h.task.Seal(); sealed != nil {
						m.lower, sequence, sealedStreamTime = maps.Clone(m.upper), sequence+1, sealed.StreamTime
					}
				}
			case 1:
				if sealed != nil {
					h.apply(sealed)
					m.base, sealed, committed = maps.Clone(m.lower), nil, sequence
				}
			case 2:
				if random.IntN(4) == 0 {
					h.task.Reset(committed, sealedStreamTime)
					m.lower, m.upper = maps.Clone(m.base), maps.Clone(m.base)
					sealed, sequence = nil, committed
				}
			default:
				m.step(t, h, random, where)
			}
			if layer := h.task.Upper(); layer.Sequence != sequence+1 {
				t.Fatalf("%s: the upper layer has sequence %d, want %d", where, layer.Sequence, sequence+1)
			}
		}
	}
}

var errRandom = &graph.RecordError{Cause: graph.CauseProcess, Node: "random", Err: errors.New("random failure")}

// step does some writes and reads in one step, which may fail in the end.
func (m *model) step(t *testing.T, h *harness, random *rand.Rand, where string) {
	t.Helper()
	want := maps.Clone(m.upper)
	fails := random.IntN(5) == 0
	err := h.step(0, func(ctx *graph.Context) error {
		rows := ctx.State("rows")
		for range 1 + random.IntN(6) {
			key := fmt.Sprint("k", random.IntN(20))
			switch random.IntN(4) {
			case 0:
				rows.Put([]byte(key), nil, nil)
				delete(want, key)
			case 1, 2:
				value := fmt.Sprint("v", random.IntN(1000))
				data := []byte(value)
				rows.Put([]byte(key), data, nil)
				clear(data) // what was put must be a copy
				want[key] = value
			}
			checkGet(t, rows, key, want, where)
			checkRange(t, rows, random, want, where)
		}
		if fails {
			return errRandom
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if !fails {
		m.upper = want
	}
	checkRange(t, h.task.State("rows"), random, m.upper, where+" (after)")
}

func checkGet(t *testing.T, rows graph.State, key string, want map[string]string, where string) {
	t.Helper()
	got, found, err := rows.Get([]byte(key))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if value, exists := want[key]; found != exists || string(got) != value {
		t.Fatalf("%s: Get(%s) = %q, %v, want %q, %v", where, key, got, found, value, exists)
	}
}

func checkRange(t *testing.T, rows graph.State, random *rand.Rand, want map[string]string, where string) {
	t.Helper()
	var from, to []byte
	if random.IntN(2) == 0 {
		from = fmt.Appendf(nil, "k%d", random.IntN(20))
	}
	if random.IntN(2) == 0 {
		to = fmt.Appendf(nil, "k%d", random.IntN(20))
	}
	descending := random.IntN(2) == 0
	var keys []string
	for key := range want {
		if (from == nil || key >= string(from)) && (to == nil || key < string(to)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if descending {
		slices.Reverse(keys)
	}
	it := rows.Range(from, to, descending)
	defer it.Close()
	for _, key := range keys {
		if !it.Next() || string(it.Key()) != key || !bytes.Equal(it.Value(), []byte(want[key])) {
			t.Fatalf("%s: Range(%q, %q, %v) gives %q=%q, want %q=%q", where, from, to, descending, it.Key(), it.Value(), key, want[key])
		}
	}
	if it.Next() {
		t.Fatalf("%s: Range(%q, %q, %v) gives %q after the last row", where, from, to, descending, it.Key())
	}
	if err := it.Err(); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
}

// TestSeal shows what a commit carries, and that work goes on above it.
func TestSeal(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.config.Sequence, h.config.StreamTime = 41, 500 })
	if layer := h.task.Seal(); layer != nil {
		t.Errorf("sealing nothing gave %+v", layer)
	}
	h.must(h.step(100, put("a", "1")))
	h.must(h.step(700, func(ctx *graph.Context) error {
		ctx.State("rows").Put([]byte("a"), []byte("2"), nil)
		ctx.State("rows").Put([]byte("b"), nil, []byte("extra"))
		ctx.State("stamped").Put([]byte("c"), append(graph.AppendRow(nil, 42), "3"...), nil)
		ctx.Emit(graph.Output{Topic: "out", Partition: graph.PartitionByKey, Key: []byte("k"), Value: []byte("v"), Headers: ctx.Forward, Timestamp: ctx.Timestamp})
		return nil
	}))
	h.must(h.step(600, func(*graph.Context) error { return nil }))
	layer := h.task.Seal()
	want := `out/-1 k=v at 700 user:"u"
app-rows-changelog/2 a=1 at 100 tidemill-changelog:"*"
app-rows-changelog/2 a=2 at 700 tidemill-changelog:"*"
app-rows-changelog/2 b=null at 700 tidemill-changelog:"*extra"
app-stamped-changelog/2 c=3 at 42 tidemill-changelog:"*"
`
	if got := outputs(layer); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if layer.Sequence != 42 || layer.StreamTime != 700 || offsets(layer) != "in:3" || layer.Size() == 0 {
		t.Errorf("got sequence %d, stream time %d, offsets %s, size %d", layer.Sequence, layer.StreamTime, offsets(layer), layer.Size())
	}
	h.must(h.step(800, put("b", "upper")))
	if got := h.rows("rows"); got != "a=2 b=upper" {
		t.Errorf("over the sealed layer the rows are %s", got)
	}
	h.apply(layer)
	if next := h.commit(); next.Sequence != 43 || offsets(next) != "in:4" {
		t.Errorf("the next layer has sequence %d and offsets %s", next.Sequence, offsets(next))
	}
	if got := h.task.Counters(); got != (task.Counters{Records: 4}) {
		t.Errorf("got counters %+v", got)
	}
}

// TestLocalRowsWaitForACommit seals nothing but rows without a changelog.
func TestLocalRowsWaitForACommit(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.start = func(ctx *graph.Context) {
			ctx.Schedule(graph.Punctuation{Interval: 1, WallClock: true, Call: func(ctx *graph.Context, _ int64) error {
				ctx.State("derived").Put([]byte("local"), []byte("row"), nil)
				return nil
			}})
		}
	})
	h.must(h.task.Tick(1))
	h.must(h.task.Tick(2))
	if layer := h.task.Seal(); layer != nil {
		t.Errorf("local rows alone were sealed: %s", outputs(layer))
	}
	h.must(h.step(1, put("a", "1")))
	h.commit()
	if value, found, _ := h.base.Get("derived", []byte("local")); !found || string(value) != "row" {
		t.Errorf("the local row did not go with the next commit: %q, %v", value, found)
	}
}
