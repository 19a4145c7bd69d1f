package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// To writes the stream's records to a topic. The partition follows from the key, as Java's default partitioner has it; the
// record keeps its timestamp and headers.
func (s Stream[K, V]) To(topic Topic[K, V]) {
	node := s.builder.node(graph.Sink, "to", topic.name, s.out.node)
	node.Topic = topic.erased()
	topic.check(s.builder, node)
	s.out.attach(func(*graph.Context) (handler[K, V], error) {
		write := newWriter(node, topic.key, topic.value)
		return func(ctx *graph.Context, key K, value V) error { return write.emit(ctx, topic.name, key, value) }, nil
	})
}

// writer encodes records for topics. It belongs to one task.
type writer[K, V any] struct {
	node    *graph.Node
	key     codecs.Codec[K]
	value   codecs.Codec[V]
	headers func([]codecs.Header, V) []codecs.Header // nil if the value's codec writes none
	scratch []byte
}

func newWriter[K, V any](node *graph.Node, key codecs.Codec[K], value codecs.Codec[V]) *writer[K, V] {
	w := &writer[K, V]{node: node, key: key, value: value}
	if withHeaders, ok := value.(codecs.HeaderCodec[V]); ok {
		w.headers = withHeaders.AppendHeaders
	}
	return w
}

// emit hands the encoded record to the task.
func (w *writer[K, V]) emit(ctx *graph.Context, topic string, key K, value V) error {
	output := graph.Output{Topic: topic, Partition: graph.PartitionByKey, Headers: ctx.Forward, Timestamp: ctx.Timestamp}
	var err error
	if !ctx.NullKey {
		if output.Key, w.scratch, err = encode(ctx, w.scratch, w.key, key); err != nil {
			return encodeError(w.node, err)
		}
	}
	if !ctx.NullValue {
		if output.Value, w.scratch, err = encode(ctx, w.scratch, w.value, value); err != nil {
			return encodeError(w.node, err)
		}
		if w.headers != nil {
			output.Headers = w.headers(output.Headers[:len(output.Headers):len(output.Headers)], value)
		}
	}
	ctx.Emit(output)
	return nil
}

// encode appends to the scratch and copies the result into the transaction's memory.
func encode[T any](ctx *graph.Context, scratch []byte, codec codecs.Codec[T], value T) (encoded, keep []byte, err error) {
	scratch, err = codec.Append(scratch[:0], value)
	if err != nil {
		return nil, scratch, err
	}
	encoded = ctx.Arena(len(scratch))
	copy(encoded, scratch)
	return encoded, scratch, nil
}
