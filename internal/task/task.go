// Package task runs one task: a sub-topology for one partition.
//
// A task is a pure state machine. Step takes a record, Tick takes the time; both put what follows into the task's upper
// layer and nothing else happens: there is no clock, goroutine, randomness or network in here, and the only thing read is
// the store below (as etcd's raft reads its Storage). The same task runs in production (package bridge), in the brokerless
// driver (topology/topologytest) and in the fault simulator.
//
// Writes live in layers: the upper one belongs to the transaction being worked on, the lower one to the transaction being
// committed. Seal makes the upper the lower; Committed drops the lower after its rows are in the store; Reset drops both.
package task

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
)

// ErrUnknownTopic says that a record came from a topic that the sub-topology does not read.
var ErrUnknownTopic = errors.New("no source reads this topic")

// Record is an input: one record of a source topic's partition.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp int64 // milliseconds
	Key       []byte
	Value     []byte
	Headers   []graph.Header
}

// Policy says what happens to a record that cannot be processed.
type Policy int

// The policies.
const (
	// DeadLetter writes the record with its cause to the dead-letter topic and goes on: the default.
	DeadLetter Policy = iota
	// Stop ends the task with the error.
	Stop
	// Skip drops the record; it is counted and logged only.
	Skip
)

// DefaultCacheBytes is Config.CacheBytes where nothing else is said.
const DefaultCacheBytes = 8 << 20

// Config of a task.
type Config struct {
	SubTopology *graph.SubTopology
	Partition   int32
	Partitions  int32 // of the source topics
	// Policy for records that cannot be processed.
	Policy Policy
	// Base holds the committed rows. The task only reads it.
	Base store.Engine
	// Sequence and StreamTime of the last commit, from the committed offset's metadata.
	Sequence   uint64
	StreamTime int64
	// CacheBytes is how much memory the operators may take for decoded rows, in all; 0 takes DefaultCacheBytes.
	CacheBytes int
	// MaxRecordBytes is how large a record may be that the task writes; 0 is no bound. A record that would follow from an
	// input but is larger makes the input one that cannot be processed.
	MaxRecordBytes int
	// OnRecordError, if set, is told of each record that could not be processed.
	OnRecordError func(Record, *graph.RecordError)
}

// Task is one task. One goroutine steps it; Seal, Committed and Reset are called while it does not step.
type Task struct {
	config  Config
	ctx     *graph.Context
	entries map[string]graph.Entry
	states  map[string]*state
	evict   []func()
	timers  []*timer

	upper *Layer
	// lower is read by the stepping goroutine and dropped by the committing one.
	lower atomic.Pointer[Layer]
	// retired is the layer committed last; the committing goroutine's.
	retired *Layer
	// sequence and offsets as of the last Seal.
	sequence uint64
	journal  []undo
	// derived is putDerived, bound once.
	derived  func(store string, key, value []byte)
	counters Counters
}

// Counters of what a task has done since it was made. Owned by the stepping goroutine.
type Counters struct {
	Records uint64
	Failed  uint64
}

// New returns a task with its pipelines assembled.
func New(config Config) (*Task, error) {
	t := &Task{config: config, entries: map[string]graph.Entry{}, states: map[string]*state{}, sequence: config.Sequence}
	t.upper = newLayer(t.sequence + 1)
	t.derived = t.putDerived
	for _, s := range config.SubTopology.Stores {
		t.states[s.Name] = newState(t, s)
		for _, derived := range s.DerivedStores {
			t.states[derived] = newState(t, &graph.Store{Name: derived})
		}
	}
	t.ctx = graph.NewContext(t, config.SubTopology.Application, config.Partition, config.Partitions)
	t.ctx.StreamTime = config.StreamTime
	t.ctx.CacheBytes = cmp.Or(config.CacheBytes, DefaultCacheBytes) / max(1, len(config.SubTopology.Stores))
	for _, source := range config.SubTopology.Sources {
		entry, err := source.Start(t.ctx)
		if err != nil {
			return nil, fmt.Errorf("starting task %s/%d at source %s: %w", config.SubTopology.Name, config.Partition, source.Name, err)
		}
		t.entries[source.Topic.Name] = entry
	}
	return t, nil
}

// Step processes one record. Its effects are in the upper layer when it returns nil. A record that cannot be processed
// leaves no effect but, by policy, a dead letter. With Stop it is as if it had not been stepped, and the error wraps
// graph.ErrRecord; any other error leaves the task unusable until Reset.
func (t *Task) Step(record Record) error {
	entry, ok := t.entries[record.Topic]
	if !ok {
		return fmt.Errorf("task %s/%d: topic %q: %w", t.config.SubTopology.Name, t.config.Partition, record.Topic, ErrUnknownTopic)
	}
	streamTime := t.ctx.StreamTime
	t.enter(record)
	mark := t.mark()
	err := t.call(func() error { return entry(t.ctx, record.Key, record.Value) })
	if err == nil {
		err = t.punctuate(false, t.ctx.StreamTime)
	}
	if err == nil {
		err = t.checkSizes(mark)
	}
	t.counters.Records++
	if err != nil {
		t.rollback(mark)
		if err := t.failed(record, err); err != nil {
			t.ctx.StreamTime = streamTime // the record is still to come
			return err
		}
	}
	t.journal = t.journal[:0]
	t.upper.advance(record.Topic, record.Offset+1)
	return nil
}

// Tick tells the task the wall-clock time in milliseconds: scheduled punctuators run.
func (t *Task) Tick(now int64) error {
	if now > t.ctx.WallTime {
		t.ctx.WallTime = now
	}
	t.enter(Record{Timestamp: t.ctx.StreamTime, Offset: -1})
	mark := t.mark()
	if err := t.punctuate(true, t.ctx.WallTime); err != nil {
		t.rollback(mark)
		return fmt.Errorf("task %s/%d: punctuator: %w", t.config.SubTopology.Name, t.config.Partition, err)
	}
	t.journal = t.journal[:0]
	return nil
}

func (t *Task) enter(record Record) {
	c := t.ctx
	c.Topic, c.Offset, c.Timestamp, c.Headers = record.Topic, record.Offset, record.Timestamp, record.Headers
	c.Forward, c.At = graph.Forwardable(record.Headers), nil
	c.NullKey, c.NullValue, c.RawValue = record.Key == nil, record.Value == nil, record.Value
	if record.Timestamp > c.StreamTime {
		c.StreamTime = record.Timestamp
	}
}

// call runs f and turns a panic of a user's function into the record's error.
func (t *Task) call(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			node := t.ctx.Topic
			if t.ctx.At != nil {
				node = t.ctx.At.Name
			}
			err = &graph.RecordError{Cause: graph.CauseProcess, Node: node, Err: fmt.Errorf("panic: %v", r)}
		}
	}()
	return f()
}

// failed applies the policy to a record whose effects were rolled back.
func (t *Task) failed(record Record, err error) error {
	for _, forget := range t.evict {
		forget()
	}
	var recordError *graph.RecordError
	if !errors.As(err, &recordError) {
		return fmt.Errorf("task %s/%d, %s offset %d: %w", t.config.SubTopology.Name, t.config.Partition, record.Topic, record.Offset, err)
	}
	t.counters.Failed++
	if t.config.OnRecordError != nil {
		t.config.OnRecordError(record, recordError)
	}
	switch t.config.Policy {
	case Stop:
		return fmt.Errorf("task %s/%d, %s offset %d: %w", t.config.SubTopology.Name, t.config.Partition, record.Topic, record.Offset, err)
	case Skip:
		return nil
	}
	t.upper.Outputs = append(t.upper.Outputs, deadLetter(t.config.SubTopology.Application, record, recordError, t.config.MaxRecordBytes))
	return nil
}

// Context returns the task's context, for drivers that look at stores.
func (t *Task) Context() *graph.Context { return t.ctx }

// Counters returns what the task has done so far. Only the stepping goroutine may call it.
func (t *Task) Counters() Counters { return t.counters }

// Partition returns the task's partition.
func (t *Task) Partition() int32 { return t.config.Partition }

// Stores returns the sub-topology's stores.
func (t *Task) Stores() []*graph.Store { return t.config.SubTopology.Stores }

// HasTimers tells whether the task wants ticks, and how often, in milliseconds.
func (t *Task) HasTimers() (interval int64, ok bool) {
	for _, timer := range t.timers {
		if timer.WallClock && (!ok || timer.Interval < interval) {
			interval, ok = timer.Interval, true
		}
	}
	return interval, ok
}

// Upper returns the layer being worked on.
func (t *Task) Upper() *Layer { return t.upper }

// Seal makes the upper layer the lower one and returns it; nil if there was nothing to commit. The previous lower layer
// must have been dropped.
func (t *Task) Seal() *Layer {
	if !t.upper.Dirty() {
		return nil
	}
	if t.lower.Load() != nil {
		panic("task: sealing over a layer that is still being committed")
	}
	sealed := t.upper
	sealed.StreamTime = t.ctx.StreamTime
	t.sequence = sealed.Sequence
	t.lower.Store(sealed)
	if t.upper = t.retired; t.upper == nil {
		t.upper = newLayer(t.sequence + 1)
	} else {
		t.upper.recycle(t.sequence + 1)
	}
	t.retired = nil
	return sealed
}

// Committed drops the lower layer: its rows are in the store now. Its memory serves again from the next Seal on, when no step
// can be reading it.
func (t *Task) Committed() { t.retired = t.lower.Swap(nil) }

// Reset drops everything that is not committed and goes back to the given commit: input must be stepped again from its
// offsets (rule 6: the upper layer goes with the lower, caches are evicted).
func (t *Task) Reset(sequence uint64, streamTime int64) {
	t.lower.Store(nil)
	t.retired = nil
	t.sequence = sequence
	t.upper = newLayer(sequence + 1)
	t.journal = t.journal[:0]
	t.ctx.StreamTime = streamTime
	for _, timer := range t.timers {
		timer.reset()
	}
	for _, forget := range t.evict {
		forget()
	}
}
