// Package topologytest drives a topology without a broker: in one goroutine, in memory, in virtual time, with the very task
// that runs in production.
//
//	driver := topologytest.New(t, calculator)
//	commands := topologytest.Input(driver, commandTopic)
//	events := topologytest.Output(driver, eventTopic)
//	values := topologytest.Store(driver, decided.State)
//
//	commands.Pipe("a", Create{Value: 3})
//	fmt.Println(events.Read().Value)
//	fmt.Println(values.Get("a"))
//	driver.Advance(time.Minute) // punctuators in wall-clock time
//	driver.Crash()              // what is not committed is lost, the rest is restored
//
// A record that is piped is processed at once, through all sub-topologies, and committed: after each record, or as
// CommitEvery says. Outputs are read as a consumer with isolation level read_committed reads them: not before the commit.
//
// The log behind the driver behaves as Kafka's does: keys choose partitions by murmur2; what a transaction writes lies in
// the log when it is written and counts when it commits; aborted records and markers take up offsets; committed offsets
// carry the task's metadata; the local disk is written after the commit, so that a crash always finds it one commit behind
// and the changelog's tail is replayed.
//
// Dead letters that the test does not ask for by DeadLetters fail it: they are records that could not be processed.
package topologytest

import (
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/topology"
)

// TB is what a Driver needs of a test: *testing.T, *testing.B and *testing.F have it. Fatalf must not return.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Option changes how a Driver runs.
type Option func(*options)

type options struct {
	partitions  int32
	commitEvery int
	start       int64
}

// Partitions sets the number of partitions of all topics that do not say otherwise. The default is 1.
func Partitions(count int32) Option { return func(o *options) { o.partitions = count } }

// CommitEvery commits after so many processed records; 0 leaves commits to Driver.Commit. The default is 1.
func CommitEvery(records int) Option { return func(o *options) { o.commitEvery = records } }

// StartAt sets the virtual time at which the driver begins, in milliseconds since the epoch. The default is
// 2026-01-01T00:00:00Z.
func StartAt(milliseconds int64) Option { return func(o *options) { o.start = milliseconds } }

// defaultStart is 2026-01-01T00:00:00Z.
const defaultStart = 1_767_225_600_000

// Driver runs a topology. It is not safe for concurrent use.
type Driver struct {
	t       TB
	graph   *graph.Graph
	options options
	log     *broker
	workers []*worker
	now     int64
	steps   int // since the last commit

	// letters is how many dead letters the test has seen.
	letters int
	// instants counts the moments at which the driver can crash; at the one numbered crashAt, it does.
	instants, crashAt int
	crash             func()
}

// New returns a driver of the topology. Whatever goes wrong in it ends the test.
func New(t TB, top *topology.Topology, opts ...Option) *Driver {
	t.Helper()
	d := start(t, top, opts)
	t.Cleanup(d.checkLetters)
	return d
}

// start returns a driver that checks nothing at the end of the test.
func start(t TB, top *topology.Topology, opts []Option) *Driver {
	t.Helper()
	if top == nil {
		t.Fatalf("topologytest: the topology is nil; did Build return an error?")
	}
	o := options{partitions: 1, commitEvery: 1, start: defaultStart}
	for _, option := range opts {
		option(&o)
	}
	if o.partitions < 1 || o.commitEvery < 0 {
		t.Fatalf("topologytest: Partitions must be at least 1 and CommitEvery at least 0, got %d and %d", o.partitions, o.commitEvery)
	}
	d := &Driver{t: t, graph: top.Graph(), options: o, now: o.start, crashAt: -1}
	var err error
	if d.log, err = newBroker(d.graph, o.partitions); err != nil {
		t.Fatalf("topologytest: %v", err)
	}
	for _, sub := range d.graph.SubTopologies {
		for n := range d.log.count(sub.Sources[0].Topic.Name) {
			d.workers = append(d.workers, newWorker(sub, n, d.log))
		}
	}
	d.boot()
	return d
}

// Now returns the virtual time in milliseconds since the epoch.
func (d *Driver) Now() int64 { return d.now }

// Advance lets virtual time pass: punctuators in wall-clock time run, once for the whole of it.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	if by < 0 {
		d.t.Fatalf("topologytest: time does not go back, Advance got %v", by)
	}
	d.now += by.Milliseconds()
	for _, w := range d.workers {
		if d.check(w.task.Tick(d.now)) || d.stepped(w) {
			break
		}
	}
	d.process()
}

// Commit commits what has been processed, and what follows from it in later sub-topologies.
func (d *Driver) Commit() {
	d.t.Helper()
	for d.commit() {
		d.process()
	}
}

// Crash kills the process and starts it again with its disk kept: what was not committed is gone and is processed again.
func (d *Driver) Crash() {
	d.t.Helper()
	d.restart(false)
	d.process()
}

// CrashLosingDisk kills the process and starts it again on another machine: all state comes from the changelogs.
func (d *Driver) CrashLosingDisk() {
	d.t.Helper()
	d.restart(true)
	d.process()
}

// Abort lets the transaction fail while the process lives: what was not committed is undone and is processed again.
func (d *Driver) Abort() {
	d.t.Helper()
	d.abort()
	d.process()
}
