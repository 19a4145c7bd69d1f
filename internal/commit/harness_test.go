package commit_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// patience bounds how long a test waits for what must happen.
const patience = 10 * time.Second

// What a record's value makes the task do, besides counting its key.
const (
	bad    = "bad"    // it cannot be processed
	broken = "broken" // the task fails in the middle of an effect
	pause  = "pause"  // it takes as long as the test wants
)

var errBroken = errors.New("the store is broken")

// harness runs sessions of tasks that count the records of each key: row and output are key=count.
type harness struct {
	t       *testing.T
	log     *fakeLog
	sub     *graph.SubTopology
	engines map[int32]store.Engine
	config  commit.Config
	policy  task.Policy

	units   []*commit.Unit
	session *commit.Session
	done    chan struct{}
	paused  chan struct{} // a step has begun to pause
	resume  chan struct{}
	ticks   bool // a tick writes a row
	steps   atomic.Int64
	unread  []commit.Place // positions that are not known
}

func newHarness(t *testing.T, topics ...string) *harness {
	h := &harness{
		t: t, log: newFakeLog(), engines: map[int32]store.Engine{}, policy: task.DeadLetter,
		paused: make(chan struct{}, 16), resume: make(chan struct{}),
		config: commit.Config{MaxBytes: 1 << 20, CommitTimeout: patience},
	}
	h.sub = &graph.SubTopology{
		Name: "in", Group: "app-in", Application: "app",
		Stores: []*graph.Store{{Name: "counts", Changelog: "app-counts-changelog"}},
	}
	for i, topic := range topics {
		source := &graph.Node{Name: "from " + topic, Kind: graph.Source, Topic: &graph.Topic{Name: topic}, Start: h.start}
		if i == 0 {
			source.Start = h.startWithTimer
		}
		h.sub.Nodes, h.sub.Sources = append(h.sub.Nodes, source), append(h.sub.Sources, source)
	}
	return h
}

func (h *harness) startWithTimer(ctx *graph.Context) (graph.Entry, error) {
	if h.ticks {
		ctx.Schedule(graph.Punctuation{Interval: 1, WallClock: true, Call: func(ctx *graph.Context, _ int64) error {
			return h.count(ctx, []byte("ticks"))
		}})
	}
	return h.start(ctx)
}

func (h *harness) start(*graph.Context) (graph.Entry, error) {
	return func(ctx *graph.Context, key, value []byte) error {
		h.steps.Add(1)
		if err := h.count(ctx, key); err != nil {
			return err
		}
		switch string(value) {
		case bad:
			return &graph.RecordError{Cause: graph.CauseDecode, Node: "from in", Err: errors.New("it is bad")}
		case broken:
			return errBroken
		case pause:
			h.paused <- struct{}{}
			<-h.resume
		}
		return nil
	}, nil
}

func (h *harness) count(ctx *graph.Context, key []byte) error {
	state := ctx.State("counts")
	value, _, err := state.Get(key)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(value))
	next := strconv.AppendInt(nil, int64(n+1), 10)
	state.Put(key, next, nil)
	ctx.Emit(graph.Output{Topic: "out", Partition: ctx.Partition, Key: key, Value: next, Timestamp: ctx.Timestamp})
	return nil
}

// open begins a session for partitions 0 to n-1 as a processor does: the tasks are restored to the group's offsets.
func (h *harness) open(partitions int32) {
	h.t.Helper()
	h.units, h.config.Next = nil, map[commit.Place]int64{}
	topics := h.sub.SourceTopics()
	for number := range partitions {
		var at meta.Offset
		for _, topic := range topics {
			stored := h.log.stored(topic, number)
			h.config.Next[commit.Place{Topic: topic, Partition: number}] = stored.Next
			if stored.Meta.Sequence > at.Sequence {
				at = stored.Meta
			}
		}
		if h.engines[number] == nil {
			h.engines[number] = store.NewMemory()
		}
		position := h.restore(number, at)
		made, err := task.New(task.Config{
			SubTopology: h.sub, Partition: number, Partitions: partitions, Policy: h.policy,
			Base: h.engines[number], Sequence: at.Sequence, StreamTime: at.StreamTime,
		})
		if err != nil {
			h.t.Fatal(err)
		}
		h.units = append(h.units, &commit.Unit{
			Task: made, Engine: h.engines[number], Positions: map[string]int64{"counts": position},
			TopicIDs: map[string][16]byte{"counts": {1}}, Sequence: at.Sequence, StreamTime: at.StreamTime,
		})
	}
	for _, place := range h.unread {
		delete(h.config.Next, place)
	}
	c := h.config
	c.Member = commit.Member{Group: h.sub.Group, ID: "m", Generation: h.log.generation}
	c.Topics, c.Units, c.Group = topics, h.units, h.log
	if c.Producers == nil {
		c.Producers = producers(h.t, h.log, 2)
	}
	h.session = commit.NewSession(c)
	session, done := h.session, make(chan struct{})
	h.done = done
	go func() {
		defer close(done)
		session.Run()
	}()
	h.t.Cleanup(func() { h.close() })
}

// restore brings a partition's engine up to the group's sequence and returns how far the changelog was read.
func (h *harness) restore(number int32, at meta.Offset) int64 {
	spec := h.sub.Stores[0]
	engine, batch, from := h.engines[number], store.NewBatch(), int64(0)
	if have, ok := engine.Checkpoint(spec.Changelog); ok {
		from = have.Offset
	}
	entries := h.log.partitions[commit.Place{Topic: spec.Changelog, Partition: number}]
	for ; from < int64(len(entries)); from++ {
		if entries[from].state != "committed" {
			continue
		}
		if _, err := task.Restore(batch, spec, entries[from].record, at.Sequence); err != nil {
			h.t.Fatal(err)
		}
	}
	batch.SetCheckpoint(store.Checkpoint{Changelog: spec.Changelog, Partition: number, Offset: from, Sequence: at.Sequence})
	if err := engine.Apply(batch); err != nil {
		h.t.Fatal(err)
	}
	return from
}

// close ends the session with its last commit.
func (h *harness) close() error {
	if h.session == nil {
		return nil
	}
	session := h.session
	h.session = nil
	return session.Close(context.Background(), h.done)
}

// records returns records of a topic's partition from an offset on, with the given values under the key "k".
func records(topic string, partition int32, from int64, values ...string) []task.Record {
	var all []task.Record
	for i, value := range values {
		offset := from + int64(i)
		all = append(all, task.Record{
			Topic: topic, Partition: partition, Offset: offset, Timestamp: 1000 + offset, Key: []byte("k"), Value: []byte(value),
		})
	}
	return all
}

func repeat(value string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = value
	}
	return all
}

// await waits until a condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// awaitCommits waits until n transactions were ended.
func (h *harness) awaitCommits(n int) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("%d transactions ended", n), func() bool {
		h.log.mu.Lock()
		defer h.log.mu.Unlock()
		return h.log.commits >= n
	})
}

// awaitStored waits until a partition's committed offset is next.
func (h *harness) awaitStored(topic string, partition int32, next int64) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("offset %d of %s/%d committed", next, topic, partition), func() bool {
		return h.log.stored(topic, partition).Next == next
	})
}

// awaitEnd waits until the session has failed.
func (h *harness) awaitEnd() {
	h.t.Helper()
	select {
	case <-h.session.Done():
	case <-time.After(patience):
		h.t.Fatal("the session goes on")
	}
}

func (h *harness) process(records ...task.Record) {
	h.t.Helper()
	if err := h.session.Process(records[0].Partition, records); err != nil {
		h.t.Fatal(err)
	}
}

// row returns a row of a partition's engine, as committed.
func (h *harness) row(partition int32, key string) string {
	h.t.Helper()
	value, _, err := h.engines[partition].Get("counts", []byte(key))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(value)
}

func (h *harness) checkpoint(partition int32) store.Checkpoint {
	at, _ := h.engines[partition].Checkpoint("app-counts-changelog")
	return at
}
