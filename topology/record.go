package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Record is a record with everything that Kafka keeps beside key and value.
type Record[K, V any] struct {
	Key   K
	Value V
	// NullKey and NullValue say that Key or Value is Kafka's null and not the zero value that stands there.
	NullKey, NullValue bool
	// Timestamp in milliseconds since the epoch.
	Timestamp int64
	// Headers of the record without the framework's own. They are shared: copy before changing.
	Headers []codecs.Header
	// Topic, Partition and Offset are the place of the record being processed; they mean nothing in a forwarded one.
	Topic     string
	Partition int32
	Offset    int64
}

// Header returns the value of the last header of that name, and whether there is one.
func (r Record[K, V]) Header(name string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// recordOf returns the record that a handler has before it.
func recordOf[K, V any](ctx *graph.Context, key K, value V) Record[K, V] {
	return Record[K, V]{
		Key: key, Value: value, NullKey: ctx.NullKey, NullValue: ctx.NullValue, Timestamp: ctx.Timestamp, Headers: ctx.Forward,
		Topic: ctx.Topic, Partition: ctx.Partition, Offset: ctx.Offset,
	}
}
