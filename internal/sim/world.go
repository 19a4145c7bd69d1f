package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	partitioning "github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/task"
)

// Workload is what runs: a sub-topology, commands for it, and a sequential model that says what must come out.
type Workload interface {
	// SubTopology is run. It reads one topic and has one store.
	SubTopology() *graph.SubTopology
	// Outputs are the topics it writes beside its changelog.
	Outputs() []string
	// Command returns a command. now is the time in milliseconds since the epoch.
	Command(random *rand.Rand, now int64) task.Record
	// Model returns the model of one partition.
	Model(partition, partitions int32) Model
	// Text says what a record of an output topic is, in the model's words.
	Text(record task.Record) string
}

// Output is a record that must follow from a command, in words.
type Output struct{ Topic, Text string }

// Model processes the commands of one partition, one after another, without failures.
type Model interface {
	// Apply takes the next command and returns what must follow from it.
	Apply(command task.Record) []Output
	// Rows returns the rows of the store, as bytes. It is the model's own map.
	Rows() map[string]string
}

// Result is what became of a run.
type Result struct {
	Seed uint64
	// Err says which invariant does not hold; nil if all do.
	Err error
	// Story is what happened last, for reading.
	Story []string
	// Transactions counts the transactions, Faults what the nemesis did, Elapsed the virtual time.
	Transactions, Faults int
	Elapsed              time.Duration
	// LeftOut counts the markers that were never written.
	LeftOut int
}

// String returns the error and the story.
func (r Result) String() string {
	return fmt.Sprintf("seed %d: %v\n%s", r.Seed, r.Err, strings.Join(r.Story, "\n"))
}

// world is one run.
type world struct {
	schedule  *schedule
	profile   *profile
	brokers   *brokers
	workload  Workload
	sub       *graph.SubTopology
	topicIDs  map[string][16]byte
	machines  []*machine
	processes []*process
	started   int
	instances int // named so far
	faults    int
	healed    bool
	leapt     time.Duration // days that have passed at once
	absent    bool          // an instance is on a longAbsence
	commands  int           // written so far
	oracle    *oracle
}

// Run runs one seed. story is how many lines of what happened are kept.
func Run(seed uint64, workload Workload, story int) Result {
	s := newSchedule(seed, story)
	w := &world{schedule: s, profile: newProfile(s.random), workload: workload, sub: workload.SubTopology()}
	w.brokers = newBrokers(s, w.profile)
	w.topicIDs = map[string][16]byte{}
	topics := append([]string{w.input(), w.changelog()}, workload.Outputs()...)
	for i, topic := range topics {
		w.brokers.createTopic(topic, w.profile.partitions)
		w.topicIDs[topic] = [16]byte{byte(i + 1)}
	}
	w.oracle = newOracle(w)
	w.brokers.observe = w.oracle
	s.note("profile: %+v", *w.profile)
	w.brokers.group.watch()
	for range w.profile.instances {
		w.join()
	}
	w.play()
	for _, p := range w.processes {
		p.kill()
	}
	return Result{Seed: seed, Err: s.failed, Story: s.story(), Transactions: w.brokers.txCount, Faults: w.faults, Elapsed: s.now, LeftOut: w.brokers.leftOut}
}

func (w *world) input() string     { return w.sub.SourceTopics()[0] }
func (w *world) changelog() string { return w.sub.Stores[0].Changelog }

// written returns the topics that instances write to.
func (w *world) written() []string { return append([]string{w.changelog()}, w.workload.Outputs()...) }

// now is the time of the world, without any machine's error.
func (w *world) now() int64 { return epoch + (w.schedule.now + w.leapt).Milliseconds() }

// appendTime is when a record is written, since 1970.
func (w *world) appendTime() time.Duration { return time.Duration(w.now()) * time.Millisecond }

// join starts an instance on a machine of its own.
func (w *world) join() *process {
	w.instances++
	m := &machine{instance: fmt.Sprint("i", w.instances), disks: map[int32]*disk{}}
	w.machines = append(w.machines, m)
	return w.start(m)
}

// write appends a command.
func (w *world) write() {
	record := w.workload.Command(w.schedule.random, w.now())
	record.Partition = partitioning.ForKey(record.Key, w.profile.partitions)
	place := commit.Place{Topic: w.input(), Partition: record.Partition}
	p := w.brokers.partition(place)
	p.append(entry{record: record}, w.appendTime())
	w.commands++
	w.oracle.command(p.entries[len(p.entries)-1].record)
}

// running returns the processes that are alive.
func (w *world) running() (alive []*process) {
	for _, p := range w.processes {
		if p.alive {
			alive = append(alive, p)
		}
	}
	return alive
}

// quiet tells whether every command is processed and no transaction is open, by anybody's account.
func (w *world) quiet() bool {
	if len(w.brokers.openTransactions()) > 0 || len(w.brokers.group.pending) > 0 {
		return false
	}
	for _, place := range w.brokers.order {
		if len(w.brokers.partitions[place].open) > 0 {
			return false
		}
	}
	for number := range w.profile.partitions {
		place := commit.Place{Topic: w.input(), Partition: number}
		if w.brokers.group.offsets[place].next < w.brokers.partition(place).end() {
			return false
		}
	}
	return true
}
