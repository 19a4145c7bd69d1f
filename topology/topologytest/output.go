package topologytest

import (
	"sort"
	"strconv"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// OutputTopic reads what the topology has written to a topic, record by record.
type OutputTopic[K, V any] struct {
	driver *Driver
	topic  topology.Topic[K, V]
	read   map[int32]int64 // the next offset by partition
}

// Output returns a reader of a topic, from its beginning. Each reader has a position of its own.
func Output[K, V any](d *Driver, topic topology.Topic[K, V]) *OutputTopic[K, V] {
	return &OutputTopic[K, V]{driver: d, topic: topic, read: map[int32]int64{}}
}

// Read returns the next committed record, over all partitions in the order in which they were written. There being none
// ends the test. The record's headers are all that it has, the framework's own among them.
func (o *OutputTopic[K, V]) Read() topology.Record[K, V] {
	o.driver.t.Helper()
	e, ok := o.next()
	if !ok {
		o.driver.t.Fatalf("topologytest: %s has no further record; what is not committed is not seen", o.topic.Name())
	}
	return o.decode(e.record)
}

// ReadAll returns all further committed records.
func (o *OutputTopic[K, V]) ReadAll() []topology.Record[K, V] {
	o.driver.t.Helper()
	var records []topology.Record[K, V]
	for {
		e, ok := o.next()
		if !ok {
			return records
		}
		records = append(records, o.decode(e.record))
	}
}

// ReadValues returns the values of all further committed records. A tombstone among them ends the test.
func (o *OutputTopic[K, V]) ReadValues() []V {
	o.driver.t.Helper()
	var values []V
	for _, record := range o.ReadAll() {
		if record.NullValue {
			o.driver.t.Fatalf("topologytest: %s has a tombstone at offset %d of partition %d; use ReadAll", o.topic.Name(), record.Offset, record.Partition)
		}
		values = append(values, record.Value)
	}
	return values
}

// Empty reports whether there is no further committed record.
func (o *OutputTopic[K, V]) Empty() bool {
	before := o.read
	o.read = map[int32]int64{}
	for partition, offset := range before {
		o.read[partition] = offset
	}
	_, some := o.next()
	o.read = before
	return !some
}

func (o *OutputTopic[K, V]) next() (first entry, ok bool) {
	for n, segment := range o.driver.log.segments(o.topic.Name()) {
		e, some := segment.next(o.read[int32(n)])
		if some && (!ok || e.order < first.order) {
			first, ok = e, true
		}
	}
	if ok {
		o.read[first.record.Partition] = first.record.Offset + 1
	}
	return first, ok
}

func (o *OutputTopic[K, V]) decode(record task.Record) topology.Record[K, V] {
	o.driver.t.Helper()
	decoded := topology.Record[K, V]{
		NullKey: record.Key == nil, NullValue: record.Value == nil, Timestamp: record.Timestamp, Headers: record.Headers,
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
	}
	var err error
	if !decoded.NullKey {
		decoded.Key, err = o.topic.Key().Decode(record.Key)
		o.driver.check(err)
	}
	if decoded.NullValue {
		return decoded
	}
	if withHeaders, ok := o.topic.Value().(codecs.HeaderCodec[V]); ok {
		decoded.Value, err = withHeaders.DecodeWithHeaders(record.Headers, record.Value)
	} else {
		decoded.Value, err = o.topic.Value().Decode(record.Value)
	}
	o.driver.check(err)
	return decoded
}

// DeadLetter is a record that could not be processed.
type DeadLetter struct {
	// Topic, Partition, Offset and Timestamp (milliseconds) of the record.
	Topic     string
	Partition int32
	Offset    int64
	Timestamp int64
	// Kind is the side on which it failed ("decode", "invalid", "process", "encode"), Node the operator, Error why.
	Kind, Node, Error string
	// Key, Value and Headers are the record's, the latter followed by those that say the above.
	Key, Value []byte
	Headers    []codecs.Header
}

// DeadLetters returns all committed dead letters so far, in the order in which they were written.
func (d *Driver) DeadLetters() []DeadLetter {
	var entries []entry
	for _, segment := range d.log.segments(graph.DeadLetterTopic(d.graph.Application)) {
		for e, ok := segment.next(0); ok; e, ok = segment.next(e.record.Offset + 1) {
			entries = append(entries, e)
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].order < entries[j].order })
	letters := make([]DeadLetter, 0, len(entries))
	for _, e := range entries {
		letters = append(letters, deadLetter(e.record))
	}
	d.letters = len(letters)
	return letters
}

func deadLetter(record task.Record) DeadLetter {
	letter := DeadLetter{Key: record.Key, Value: record.Value, Headers: record.Headers}
	for _, header := range record.Headers {
		text := string(header.Value)
		number, _ := strconv.ParseInt(text, 10, 64) // 0 for what is no number; which of them are is known below
		switch header.Key {
		case meta.DeadTopic:
			letter.Topic = text
		case meta.DeadPartition:
			letter.Partition = int32(number)
		case meta.DeadOffset:
			letter.Offset = number
		case meta.DeadTimestamp:
			letter.Timestamp = number
		case meta.DeadKind:
			letter.Kind = text
		case meta.DeadNode:
			letter.Node = text
		case meta.DeadError:
			letter.Error = text
		}
	}
	return letter
}

// checkLetters fails the test over dead letters that it did not ask for.
func (d *Driver) checkLetters() {
	d.t.Helper()
	seen := d.letters
	letters := d.DeadLetters()
	if len(letters) > seen {
		l := letters[seen]
		d.t.Errorf("topologytest: %d records could not be processed and the test did not ask for DeadLetters; the first: %s partition %d offset %d, value %.80q: %s: %s: %s",
			len(letters)-seen, l.Topic, l.Partition, l.Offset, l.Value, l.Node, l.Kind, l.Error)
	}
}
