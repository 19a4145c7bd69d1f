package topology

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
)

// errNotDeclared says that a processor opened a store that was not given to Process.
var errNotDeclared = errors.New("the store is not among the processor's; give it to Process")

// Processor takes one record. An error sends the record to the dead-letter topic and undoes all that was done for it.
type Processor[K, V any] func(Record[K, V]) error

// Punctuation is the kind of time in which a punctuator is scheduled.
type Punctuation int

// The kinds of time. Both are message time: a task never reads the system's clock.
const (
	// StreamTime is the highest timestamp among the records that the task has seen; without records it stands still.
	StreamTime Punctuation = iota
	// WallClockTime is what the ticks say that the task gets.
	WallClockTime
)

// ProcessorContext is what a processor has of its task. It belongs to the task's goroutine.
type ProcessorContext[L, W any] struct {
	ctx  *graph.Context
	node *graph.Node
	next handler[L, W]
	// failed is the first error of a store or of what follows; it ends the step whatever the processor returns.
	failed error
}

// Process runs a processor of the user's: start is called once for each task, opens stores, schedules punctuators and
// returns the function that takes the records, tombstones and null keys among them. What the function forwards is the
// resulting stream. name is the processor's; it is mandatory where there are stores. A store can be given to several
// processors, which then run in the same task.
//
//	visits := topology.KeyValueStore("visits", codecs.String(), codecs.Int64())
//	counted := s.Process("count-visits", func(c *topology.ProcessorContext[string, int64]) topology.Processor[string, Visit] {
//		counts := visits.Open(c)
//		return func(r topology.Record[string, Visit]) error {
//			n, _ := counts.Get(r.Key)
//			counts.Put(r.Key, n+1)
//			c.Forward(r.Key, n+1)
//			return nil
//		}
//	}, visits)
//
// Functions that return a closure keep what they remember in it only until the next restart: what must last is in a store.
func (s Stream[K, V]) Process[L, W any](name string, start func(*ProcessorContext[L, W]) Processor[K, V], stores ...StoreHandle) Stream[L, W] {
	return newKeys(s, process(s, "process", name, start, stores))
}

// ProcessValues is Process for processors that forward records under the key they came with: the stream is not
// repartitioned behind it.
func (s Stream[K, V]) ProcessValues[W any](name string, start func(*ProcessorContext[K, W]) Processor[K, V], stores ...StoreHandle) Stream[K, W] {
	return sameKeys(s, process(s, "processValues", name, start, stores))
}

func process[K, V, L, W any](s Stream[K, V], operator, name string, start func(*ProcessorContext[L, W]) Processor[K, V], stores []StoreHandle) *port[L, W] {
	b := s.builder
	kind := graph.Stateless
	if len(stores) > 0 {
		kind = graph.Stateful
	}
	node := b.node(kind, operator, name, s.out.node)
	node.Terminal = true
	b.needs(node, start != nil, "its function")
	if len(stores) > 0 && s.rekeyed {
		b.problem(node, "the key was changed before; repartition the stream, so that all of a key's records meet in one task")
	}
	if name != "" || len(stores) > 0 {
		if err := checkName(name); err != nil {
			b.problem(node, "%v", err)
		}
	}
	for _, store := range stores {
		if store == nil {
			b.problem(node, "one of its stores is nil")
			continue
		}
		store.declare(b, node)
	}
	out := newPort[L, W](b, node)
	s.out.attach(func(ctx *graph.Context) (handler[K, V], error) {
		next, err := out.start(ctx)
		if err != nil {
			return nil, err
		}
		c := &ProcessorContext[L, W]{ctx: ctx, node: node, next: next}
		run := start(c)
		if c.failed != nil {
			return nil, fmt.Errorf("%s: %w", node.Name, c.failed)
		}
		if run == nil {
			return nil, fmt.Errorf("%s: its function returned no processor", node.Name)
		}
		return func(ctx *graph.Context, key K, value V) error {
			ctx.At, c.failed = node, nil
			return c.result(run(recordOf(ctx, key, value)))
		}, nil
	})
	return out
}

// result returns what ended a call of the user's function.
func (c *ProcessorContext[L, W]) result(err error) error {
	failed := c.failed
	c.failed = nil
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return processError(c.node, err)
	}
	return nil
}

// Forward hands a record on, with the timestamp and headers of the record being processed; in a punctuator with the time
// for which that was called, and without headers.
func (c *ProcessorContext[L, W]) Forward(key L, value W) {
	c.ForwardRecord(Record[L, W]{Key: key, Value: value, Timestamp: c.ctx.Timestamp, Headers: c.ctx.Forward})
}

// ForwardRecord hands a record on as it is: its place is ignored, everything else goes with it.
func (c *ProcessorContext[L, W]) ForwardRecord(record Record[L, W]) {
	if c.failed != nil {
		return
	}
	ctx := c.ctx
	timestamp, headers, nullKey, nullValue := ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue
	ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue = record.Timestamp, record.Headers, record.NullKey, record.NullValue
	c.failed = c.next(ctx, record.Key, record.Value)
	ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue = timestamp, headers, nullKey, nullValue
	ctx.At = c.node
}

// Schedule calls a function whenever an interval of time has passed, with the time it has become, in milliseconds. Intervals
// that were missed are made up for by one call. As in Kafka Streams, stream time is cut at multiples of the interval, and the
// first record after a start calls at once; wall-clock time is counted from the start. An error stops the task if it happens
// in wall-clock time; in stream time it is that of the record that moved the time. Schedule is for the function given to
// Process, not for the processor it returns.
func (c *ProcessorContext[L, W]) Schedule(kind Punctuation, interval time.Duration, call func(now int64) error) {
	if interval < time.Millisecond || call == nil {
		c.fail(fmt.Errorf("a punctuator needs an interval of at least 1 ms and a function, got %v", interval))
		return
	}
	c.ctx.Schedule(graph.Punctuation{
		Interval: interval.Milliseconds(), WallClock: kind == WallClockTime,
		Call: func(ctx *graph.Context, now int64) error {
			timestamp, headers, nullKey, nullValue := ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue
			ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue, ctx.At = now, nil, false, false, c.node
			c.failed = nil
			err := c.result(call(now))
			ctx.Timestamp, ctx.Forward, ctx.NullKey, ctx.NullValue = timestamp, headers, nullKey, nullValue
			return err
		},
	})
}

// Application returns the application's name.
func (c *ProcessorContext[L, W]) Application() string { return c.ctx.Application }

// Partition returns the number of the task's partition.
func (c *ProcessorContext[L, W]) Partition() int32 { return c.ctx.Partition }

// StreamTime returns the highest timestamp that the task has seen, in milliseconds since the epoch.
func (c *ProcessorContext[L, W]) StreamTime() int64 { return c.ctx.StreamTime }

// WallTime returns what the last tick said, in milliseconds since the epoch; 0 before the first.
func (c *ProcessorContext[L, W]) WallTime() int64 { return c.ctx.WallTime }

// task and fail implement StoreContext.
func (c *ProcessorContext[L, W]) task() (*graph.Context, *graph.Node) { return c.ctx, c.node }

func (c *ProcessorContext[L, W]) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
}
