package topology

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// errNoTopic says that a function of ToDynamic returned no topic.
var errNoTopic = errors.New("no topic was chosen for the record; filter out what is not to be written")

// To writes the stream's records to a topic. The partition follows from the key, or from the part of it that decides
// (codecs.Rows), as Java's default partitioner has it; the record keeps its timestamp and headers.
func (s Stream[K, V]) To(topic Topic[K, V]) {
	node := s.builder.node(graph.Sink, "to", topic.name, s.out.node)
	node.Topic, node.Terminal = topic.erased(), true
	topic.check(s.builder, node)
	s.out.attach(func(*graph.Context) (handler[K, V], error) {
		write := newWriter(node, topic.key, topic.value)
		return func(ctx *graph.Context, key K, value V) error { return write.emit(ctx, topic.name, key, value) }, nil
	})
}

// ToDynamic writes each record to the topic that choose names for it. The topics must exist: they are not known beforehand,
// so nothing creates or checks them. A nil codec takes the stream's own. Choosing no topic ("") or an impossible name sends
// the record to the dead-letter topic.
func (s Stream[K, V]) ToDynamic(choose func(Record[K, V]) string, key codecs.Codec[K], value codecs.Codec[V]) {
	b := s.builder
	node := b.node(graph.Sink, "toDynamic", "", s.out.node)
	node.Dynamic, node.Terminal = true, true
	b.needs(node, choose != nil, "its function")
	if key == nil {
		key = s.key
	}
	if value == nil {
		value = s.value
	}
	needsKey(b, node, key)
	needsValue(b, node, value)
	s.out.attach(func(*graph.Context) (handler[K, V], error) {
		write := newWriter(node, key, value)
		return func(ctx *graph.Context, key K, value V) error {
			ctx.At = node
			topic := choose(recordOf(ctx, key, value))
			if topic == "" {
				return processError(node, errNoTopic)
			}
			if err := checkTopicName(topic); err != nil {
				return processError(node, fmt.Errorf("topic %.20q: %w", topic, err))
			}
			return write.emit(ctx, topic, key, value)
		}, nil
	})
}

// writer encodes records for topics. It belongs to one task.
type writer[K, V any] struct {
	node    *graph.Node
	key     codec[K]
	value   codec[V]
	headers func([]codecs.Header, V) []codecs.Header // nil if the value's codec writes none
	placing placing[K]
	scratch []byte
}

func newWriter[K, V any](node *graph.Node, key codec[K], value codec[V]) *writer[K, V] {
	w := &writer[K, V]{node: node, key: key, value: value, placing: newPlacing(key)}
	if withHeaders, ok := value.(codecs.HeaderCodec[V]); ok {
		w.headers = withHeaders.AppendHeaders
	}
	return w
}

// emit hands the encoded record to the task.
func (w *writer[K, V]) emit(ctx *graph.Context, topic string, key K, value V) error {
	output := graph.Output{Topic: topic, Partition: graph.PartitionByKey, Headers: ctx.Forward, Timestamp: ctx.Timestamp}
	var err error
	ctx.At = w.node
	if !ctx.NullKey {
		if output.Key, w.scratch, err = encode(ctx, w.scratch, w.key, key); err != nil {
			return encodeError(w.node, fmt.Errorf("encoding the key: %w", err))
		}
		if w.placing.partitioner != nil {
			part := w.placing.key(output.Key)
			output.PartitionKey = ctx.Arena(len(part))
			copy(output.PartitionKey, part)
		}
	}
	if !ctx.NullValue {
		if output.Value, w.scratch, err = encode(ctx, w.scratch, w.value, value); err != nil {
			return encodeError(w.node, fmt.Errorf("encoding the value: %w", err))
		}
		if w.headers != nil {
			// The list is shared with the record's other outputs: it is copied before it is changed.
			own := append(ctx.Runtime.Headers(len(output.Headers)+2), output.Headers...)
			output.Headers = w.headers(own, value)
		}
	}
	ctx.Emit(output)
	return nil
}

// encode appends to the scratch and copies the result into the transaction's memory.
func encode[T any](ctx *graph.Context, scratch []byte, codec codec[T], value T) (encoded, keep []byte, err error) {
	scratch, err = codec.Append(scratch[:0], value)
	if err != nil {
		return nil, scratch, err
	}
	encoded = ctx.Arena(len(scratch))
	copy(encoded, scratch)
	return encoded, scratch, nil
}
