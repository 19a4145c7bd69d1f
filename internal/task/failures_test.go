package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

var errBad = errors.New("it is bad")

// spoil writes everywhere and then fails.
func spoil(err error) func(*graph.Context) error {
	return func(ctx *graph.Context) error {
		ctx.State("rows").Put([]byte("a"), []byte("spoilt"), nil)
		ctx.State("rows").Put([]byte("a"), nil, nil)
		ctx.State("rows").Put([]byte("new"), []byte("spoilt"), nil)
		ctx.State("plain").Put([]byte("p"), []byte("spoilt"), []byte("derived-key"))
		ctx.Emit(graph.Output{Topic: "out", Key: []byte("k"), Value: []byte("spoilt")})
		return err
	}
}

// TestFailingStep leaves no trace of a record but its dead letter, and tells caches to forget.
func TestFailingStep(t *testing.T) {
	evicted := 0
	h := newHarness(t, func(h *harness) {
		h.start = func(ctx *graph.Context) { ctx.OnEvict(func() { evicted++ }) }
	})
	h.must(h.step(10, put("a", "1")))
	h.must(h.step(20, spoil(&graph.RecordError{Cause: graph.CauseDecode, Node: "from in", Err: errBad})))
	h.must(h.step(30, func(ctx *graph.Context) error {
		ctx.At = &graph.Node{Name: "map#3"}
		_ = spoil(nil)(ctx)
		panic("what a pity")
	}))
	h.must(h.step(40, put("b", "2")))
	if rows, derived := h.rows("rows")+h.rows("plain"), h.rows("derived"); rows != "a=1 b=2" || derived != "" {
		t.Errorf("got rows %s and %s", rows, derived)
	}
	if evicted != 2 {
		t.Errorf("caches were evicted %d times, want 2", evicted)
	}
	layer := h.task.Seal()
	want := `app-dead-letters/-1 key-1=value at 20 user:"u" tidemill-cause:"\x01" tidemill-dead-topic:"in" tidemill-dead-partition:"2" tidemill-dead-offset:"1" tidemill-dead-timestamp:"20" tidemill-dead-kind:"decode" tidemill-dead-node:"from in" tidemill-dead-error:"it is bad"
app-dead-letters/-1 key-2=value at 30 user:"u" tidemill-cause:"\x01" tidemill-dead-topic:"in" tidemill-dead-partition:"2" tidemill-dead-offset:"2" tidemill-dead-timestamp:"30" tidemill-dead-kind:"process" tidemill-dead-node:"map#3" tidemill-dead-error:"panic: what a pity"
app-rows-changelog/2 a=1 at 10 tidemill-changelog:"\x01"
app-rows-changelog/2 b=2 at 40 tidemill-changelog:"\x01"
`
	if got := outputs(layer); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if offsets(layer) != "in:4" {
		t.Errorf("got offsets %s; a dead letter's input is done with", offsets(layer))
	}
	if got := h.task.Counters(); got != (task.Counters{Records: 4, Failed: 2}) {
		t.Errorf("got counters %+v", got)
	}
	if got := strings.Join(h.failed, "\n"); got != "1: from in: decode: it is bad\n2: map#3: process: panic: what a pity" {
		t.Errorf("told of %s", got)
	}
}

// TestPolicies stops or skips where the configuration says so.
func TestPolicies(t *testing.T) {
	bad := &graph.RecordError{Cause: graph.CauseEncode, Node: "to out", Err: errBad}
	skipping := newHarness(t, func(h *harness) { h.config.Policy = task.Skip })
	skipping.must(skipping.step(1, spoil(bad)))
	if layer := skipping.task.Seal(); outputs(layer) != "" || offsets(layer) != "in:1" || len(skipping.failed) != 1 {
		t.Errorf("skipping gave %q at %s, told of %v", outputs(layer), offsets(layer), skipping.failed)
	}
	stopping := newHarness(t, func(h *harness) { h.config.Policy = task.Stop })
	err := stopping.step(1, spoil(bad))
	if !errors.Is(err, errBad) || !errors.Is(err, graph.ErrRecord) || !strings.Contains(fmt.Sprint(err), "task in/2, in offset 0: to out: encode: it is bad") {
		t.Errorf("stopping gave %v", err)
	}
	if got := stopping.rows("rows"); got != "" {
		t.Errorf("stopping left rows %s", got)
	}
}

// TestFatalErrors end the task: a store's error is not the record's.
func TestFatalErrors(t *testing.T) {
	h := newHarness(t, nil)
	if err := h.step(1, spoil(errBad)); !errors.Is(err, errBad) || errors.Is(err, graph.ErrRecord) {
		t.Errorf("got %v", err)
	}
	if err := h.task.Step(task.Record{Topic: "elsewhere"}); !errors.Is(err, task.ErrUnknownTopic) {
		t.Errorf("got %v", err)
	}
	h.must(h.base.Close())
	err := h.step(2, func(ctx *graph.Context) error {
		_, _, err := ctx.State("rows").Get([]byte("a"))
		return err
	})
	if !errors.Is(err, store.ErrClosed) || !strings.Contains(fmt.Sprint(err), "reading store rows/2") {
		t.Errorf("got %v", err)
	}
	err = h.step(3, func(ctx *graph.Context) error {
		rows := ctx.State("rows").Range(nil, nil, false)
		defer rows.Close()
		for rows.Next() {
			return errors.New("a closed store has rows")
		}
		return rows.Err()
	})
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestStartErrors say which source of which task did not start.
func TestStartErrors(t *testing.T) {
	source := &graph.Node{
		Name: "from in", Topic: &graph.Topic{Name: "in"},
		Start: func(*graph.Context) (graph.Entry, error) { return nil, errBad },
	}
	_, err := task.New(task.Config{SubTopology: &graph.SubTopology{Name: "in", Sources: []*graph.Node{source}}, Partition: 3, Base: store.NewMemory()})
	if !errors.Is(err, errBad) || !strings.Contains(fmt.Sprint(err), "task in/3 at source from in") {
		t.Errorf("got %v", err)
	}
}
