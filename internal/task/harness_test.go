package task_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// harness is a task whose one source runs whatever function a step brings.
type harness struct {
	t      *testing.T
	sub    *graph.SubTopology
	config task.Config
	task   *task.Task
	base   store.Engine
	start  func(*graph.Context) // if set, called while the task is assembled
	run    func(*graph.Context) error
	offset int64
	failed []string
}

// newHarness returns a task over the stores "rows", "stamped" (timestamped) and "plain", whose changelog records derive
// rows of "derived": the header's bytes as key, the record's key as value.
func newHarness(t *testing.T, change func(*harness)) *harness {
	t.Helper()
	h := &harness{t: t, base: store.NewMemory(), run: func(*graph.Context) error { return nil }}
	source := &graph.Node{
		Name: "from in", Kind: graph.Source, Topic: &graph.Topic{Name: "in"},
		Start: func(ctx *graph.Context) (graph.Entry, error) {
			if h.start != nil {
				h.start(ctx)
			}
			return func(ctx *graph.Context, _, _ []byte) error { return h.run(ctx) }, nil
		},
	}
	h.sub = &graph.SubTopology{
		Name: "in", Group: "app-in", Application: "app", Nodes: []*graph.Node{source}, Sources: []*graph.Node{source},
		Stores: []*graph.Store{
			{Name: "rows", Changelog: "app-rows-changelog"},
			{Name: "stamped", Changelog: "app-stamped-changelog", Timestamped: true},
			{
				Name: "plain", Changelog: "app-plain-changelog", DerivedStores: []string{"derived"},
				Derive: func(key, _, extra []byte, timestamp int64, put func(string, []byte, []byte)) {
					put("derived", extra, fmt.Appendf(nil, "%s@%d", key, timestamp))
				},
			},
		},
	}
	h.config = task.Config{
		SubTopology: h.sub, Partition: 2, Partitions: 4, Base: h.base,
		OnRecordError: func(r task.Record, err *graph.RecordError) {
			h.failed = append(h.failed, fmt.Sprint(r.Offset, ": ", err))
		},
	}
	if change != nil {
		change(h)
	}
	var err error
	if h.task, err = task.New(h.config); err != nil {
		t.Fatal(err)
	}
	return h
}

// step steps one record that does what run says.
func (h *harness) step(timestamp int64, run func(ctx *graph.Context) error) error {
	h.run = run
	record := task.Record{
		Topic: "in", Partition: 2, Offset: h.offset, Timestamp: timestamp, Key: fmt.Appendf(nil, "key-%d", h.offset), Value: []byte("value"),
		Headers: []graph.Header{{Key: "user", Value: []byte("u")}, {Key: "tidemill-cause", Value: []byte{1}}},
	}
	h.offset++
	return h.task.Step(record)
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// put writes a row of "rows".
func put(key, value string) func(*graph.Context) error {
	return func(ctx *graph.Context) error {
		ctx.State("rows").Put([]byte(key), []byte(value), nil)
		return nil
	}
}

// commit seals and applies what was done.
func (h *harness) commit() *task.Layer {
	h.t.Helper()
	layer := h.task.Seal()
	if layer != nil {
		h.apply(layer)
	}
	return layer
}

func (h *harness) apply(layer *task.Layer) {
	h.t.Helper()
	batch := store.NewBatch()
	layer.Write(batch)
	h.must(h.base.Apply(batch))
	h.task.Committed()
}

// rows returns a store as the task sees it, as text.
func (h *harness) rows(name string) string { return rowsText(h.t, h.task.State(name)) }

func rowsText(t *testing.T, state graph.State) string {
	t.Helper()
	rows := state.Range(nil, nil, false)
	defer rows.Close()
	var out []string
	for rows.Next() {
		out = append(out, fmt.Sprintf("%s=%s", rows.Key(), rows.Value()))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// outputs returns a layer's outputs and changelog records as text, one a line.
func outputs(layer *task.Layer) string {
	var out strings.Builder
	for _, o := range append(append([]graph.Output{}, layer.Outputs...), layer.Changelog...) {
		fmt.Fprintf(&out, "%s/%d %s=%s at %d", o.Topic, o.Partition, o.Key, text(o.Value), o.Timestamp)
		for _, header := range o.Headers {
			fmt.Fprintf(&out, " %s:%q", header.Key, header.Value)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func text(data []byte) string {
	if data == nil {
		return "null"
	}
	return string(data)
}

// offsets returns a layer's offsets as text.
func offsets(layer *task.Layer) string {
	var out []string
	for topic, next := range layer.Offsets {
		out = append(out, fmt.Sprintf("%s:%d", topic, next))
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}
