package topologytest

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// InputTopic writes records to a topic that the topology reads.
type InputTopic[K, V any] struct {
	driver *Driver
	topic  topology.Topic[K, V]
}

// Input returns a writer to a topic that the topology reads.
func Input[K, V any](d *Driver, topic topology.Topic[K, V]) *InputTopic[K, V] {
	d.t.Helper()
	d.checkSource(topic.Name())
	return &InputTopic[K, V]{driver: d, topic: topic}
}

// PipeOption changes one record.
type PipeOption func(*task.Record)

// At sets the record's timestamp in milliseconds since the epoch. The default is the driver's time.
func At(milliseconds int64) PipeOption {
	return func(r *task.Record) { r.Timestamp = milliseconds }
}

// Header adds a header to the record.
func Header(key, value string) PipeOption {
	return func(r *task.Record) {
		r.Headers = append(r.Headers, codecs.Header{Key: key, Value: []byte(value)})
	}
}

// OnPartition writes the record to a partition, whatever its key's is.
func OnPartition(number int32) PipeOption { return func(r *task.Record) { r.Partition = number } }

// Pipe writes a record and lets the topology process it.
func (i *InputTopic[K, V]) Pipe(key K, value V, options ...PipeOption) {
	i.driver.t.Helper()
	i.pipe(task.Record{Key: i.encodeKey(key)}, value, options)
}

// PipeNullKey writes a record without a key.
func (i *InputTopic[K, V]) PipeNullKey(value V, options ...PipeOption) {
	i.driver.t.Helper()
	i.pipe(task.Record{}, value, options)
}

// PipeTombstone writes a record without a value: it deletes the key's row where the topic is read as a table.
func (i *InputTopic[K, V]) PipeTombstone(key K, options ...PipeOption) {
	i.driver.t.Helper()
	i.driver.pipe(task.Record{Topic: i.topic.Name(), Key: i.encodeKey(key)}, options)
}

func (i *InputTopic[K, V]) encodeKey(key K) []byte {
	data, err := i.topic.Key().Append([]byte{}, key)
	i.driver.check(err)
	return data
}

func (i *InputTopic[K, V]) pipe(record task.Record, value V, options []PipeOption) {
	var err error
	record.Topic = i.topic.Name()
	record.Value, err = i.topic.Value().Append([]byte{}, value)
	i.driver.check(err)
	if withHeaders, ok := i.topic.Value().(codecs.HeaderCodec[V]); ok {
		record.Headers = withHeaders.AppendHeaders(nil, value)
	}
	i.driver.pipe(record, options)
}

// PipeBytes writes a record as it is to a topic that the topology reads; a nil key or value is Kafka's null.
func (d *Driver) PipeBytes(topic string, key, value []byte, options ...PipeOption) {
	d.t.Helper()
	d.checkSource(topic)
	d.pipe(task.Record{Topic: topic, Key: key, Value: value}, options)
}

func (d *Driver) pipe(record task.Record, options []PipeOption) {
	record.Timestamp, record.Partition = d.now, -1
	for _, option := range options {
		option(&record)
	}
	switch count := d.log.count(record.Topic); {
	case record.Partition == -1:
		record.Partition = d.log.partitionFor(record.Topic, d.log.deciding(record.Topic, record.Key), 0)
	case record.Partition < 0 || record.Partition >= count:
		d.t.Fatalf("topologytest: %s has %d partitions, there is no %d", record.Topic, count, record.Partition)
	}
	d.log.append(record, entryCommitted)
	d.process()
}

// checkSource ends the test if the topology does not read a topic from outside.
func (d *Driver) checkSource(topic string) {
	for _, sub := range d.graph.SubTopologies {
		for _, source := range sub.Sources {
			if source.Topic.Name == topic {
				return
			}
		}
	}
	d.t.Fatalf("topologytest: no operator of %s reads topic %q", d.graph.Application, topic)
}
