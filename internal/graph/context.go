package graph

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/meta"
)

// Header is one header of a record.
type Header = codecs.Header

// Output is one record that a task has produced.
type Output struct {
	Topic string
	// Partition is the target, or PartitionByKey.
	Partition int32
	Key       []byte // nil is Kafka's null
	Value     []byte // nil is Kafka's null
	// PartitionKey is what PartitionByKey goes by; nil is Key. It is set where a part of the key decides (codecs.Partitioner).
	PartitionKey []byte
	Headers      []Header
	// Timestamp in milliseconds since the epoch.
	Timestamp int64
	// Store is the store whose changelog the record belongs to, or empty.
	Store string
}

// PartitionByKey lets murmur2 of the key, or of what stands in for it, choose the partition, as Java's default partitioner does.
const PartitionByKey int32 = -1

// State is what a task's typed operators see of one store: ordered bytes, with the uncommitted writes on top.
// A value is valid until the end of the step, and must not be changed. Only the task's own goroutine may call it.
type State interface {
	Get(key []byte) (value []byte, found bool, err error)
	// Put writes a row and its changelog record; extra, if not nil, rides in the changelog record's header to the store's
	// Derive. key, value and extra are copied. A nil value deletes.
	Put(key, value, extra []byte)
	// Range iterates over [from, to), nil being no bound, in key order or against it.
	Range(from, to []byte, descending bool) Iterator
}

// Iterator walks over rows. Key and Value are valid until Next.
type Iterator interface {
	Next() bool
	Key() []byte
	Value() []byte
	Err() error
	Close() error
}

// Runtime is what the task gives to its operators through the context.
type Runtime interface {
	State(store string) State
	Emit(Output)
	// OnEvict registers a function that forgets whatever its caller cached of a store's rows: after an abort or a failed
	// step nothing read or written before may be believed.
	OnEvict(func())
	// Schedule registers a punctuator: called for each interval of stream time or wall-clock time that has passed.
	Schedule(Punctuation)
	// Arena returns memory for n bytes that lives as long as the transaction.
	Arena(n int) []byte
	// Headers returns an empty list with room for n headers that lives as long as the transaction.
	Headers(n int) []Header
}

// Punctuation is a scheduled function of a task.
type Punctuation struct {
	Interval  int64 // milliseconds, above 0
	WallClock bool  // else stream time
	Call      func(ctx *Context, now int64) error
}

// Context is the state of one task while it runs: the record at hand and the task's own facts. It is not safe for
// concurrent use: the goroutine that steps the task owns it.
type Context struct {
	Runtime

	// The record being processed. Operators that change one of them for their children restore it afterwards.
	Topic     string
	Offset    int64
	Timestamp int64    // milliseconds
	Headers   []Header // as they came
	Forward   []Header // what an output carries on: the user's own headers, or what an operator put in their place
	RawValue  []byte   // the input record's value as it came
	NullKey   bool     // the key is Kafka's null; K is its zero value
	NullValue bool     // the value is Kafka's null; V is its zero value

	// At is the node whose function runs, or ran last: a panic is reported under its name.
	At *Node

	// The task.
	Application string
	Partition   int32
	// Partitions is the number of partitions of the sub-topology's source topics.
	Partitions int32
	// StreamTime is the highest timestamp that the task has seen, in milliseconds.
	StreamTime int64
	// CacheBytes is how much memory an operator may take for the decoded rows of one store.
	CacheBytes int
	// WallTime is the last tick's time, in milliseconds: message time too, since ticks are inputs.
	WallTime int64

	instances map[any]any
}

// NewContext returns the context of a task.
func NewContext(runtime Runtime, application string, partition, partitions int32) *Context {
	return &Context{Runtime: runtime, Application: application, Partition: partition, Partitions: partitions, instances: map[any]any{}}
}

// Instance returns the task's one instance of a node (or of whatever else is the key), made on first use: a node with two
// parents is one operator, with one cache over its store.
func Instance[T any](ctx *Context, node any, make func() (T, error)) (T, error) {
	if have, ok := ctx.instances[node]; ok {
		return have.(T), nil
	}
	instance, err := make()
	if err != nil {
		var zero T
		return zero, err
	}
	ctx.instances[node] = instance
	return instance, nil
}

// Forwardable returns the headers that go on from an input to its outputs: all but the framework's own, which speak of
// the one record they stand on.
func Forwardable(headers []Header) []Header {
	for i := range headers {
		if strings.HasPrefix(headers[i].Key, meta.Prefix) {
			return withoutPrefix(headers)
		}
	}
	return headers
}

func withoutPrefix(headers []Header) []Header {
	var kept []Header
	for _, header := range headers {
		if !strings.HasPrefix(header.Key, meta.Prefix) {
			kept = append(kept, header)
		}
	}
	return kept
}

// HeaderValue returns the value of the last header of that name, or nil.
func (c *Context) HeaderValue(key string) []byte {
	for i := len(c.Headers) - 1; i >= 0; i-- {
		if c.Headers[i].Key == key {
			return c.Headers[i].Value
		}
	}
	return nil
}

// ErrRecord says that one record cannot be processed while others can. Anything else that an entry returns ends the task.
var ErrRecord = errors.New("record cannot be processed")

// Cause says on which side a record failed.
type Cause string

// The causes of a RecordError; they are written into dead letters.
const (
	CauseDecode  Cause = "decode"  // the input's bytes
	CauseInvalid Cause = "invalid" // the input's place: key or partition
	CauseProcess Cause = "process" // the user's function
	CauseEncode  Cause = "encode"  // the output
)

// RecordError is an error of one record. It wraps ErrRecord and the underlying error.
type RecordError struct {
	Cause Cause
	Node  string
	Err   error
}

// Error names the node, the cause and the underlying error.
func (e *RecordError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Node, e.Cause, e.Err) }

// Unwrap returns ErrRecord and the underlying error.
func (e *RecordError) Unwrap() []error { return []error{ErrRecord, e.Err} }
