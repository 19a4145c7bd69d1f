package topology

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// From reads a topic as a stream: each record is an event of its own.
func (b *Builder) From[K, V any](topic Topic[K, V]) Stream[K, V] {
	node := b.node(graph.Source, "from", topic.name)
	node.Topic = topic.erased()
	topic.check(b, node)
	return Stream[K, V]{builder: b, out: source(b, node, topic.key, topic.value), key: topic.key, value: topic.value}
}

// Table reads a topic as a table: each record is the present value of its key, a tombstone deletes it. The rows are kept
// in a store under the given name.
func (b *Builder) Table[K, V any](topic Topic[K, V], name string) Table[K, V] {
	return b.From(topic).ToTable(name)
}

// source makes the port of a source node.
func source[K, V any](b *Builder, node *graph.Node, key codec[K], value codec[V]) *port[K, V] {
	out := newPort[K, V](b, node)
	node.Start = decodeEntry(node, key, value, out)
	return out
}

// decodeEntry returns the function that assembles a source: bytes in, typed records out.
func decodeEntry[K, V any](node *graph.Node, key codec[K], value codec[V], out *port[K, V]) func(*graph.Context) (graph.Entry, error) {
	keyDecode, valueDecode := decoder(key), decoder(value)
	return func(ctx *graph.Context) (graph.Entry, error) {
		next, err := out.start(ctx)
		if err != nil {
			return nil, err
		}
		return func(ctx *graph.Context, keyBytes, valueBytes []byte) error {
			var key K
			var value V
			var err error
			ctx.At = node
			if !ctx.NullKey {
				if key, err = keyDecode(ctx.Headers, keyBytes); err != nil {
					return &graph.RecordError{Cause: graph.CauseDecode, Node: node.Name, Err: err}
				}
			}
			if !ctx.NullValue {
				if value, err = valueDecode(ctx.Headers, valueBytes); err != nil {
					return &graph.RecordError{Cause: graph.CauseDecode, Node: node.Name, Err: err}
				}
			}
			return next(ctx, key, value)
		}, nil
	}
}

// decoder returns how a codec reads a record: with its headers if it can.
func decoder[T any](codec codec[T]) func([]codecs.Header, []byte) (T, error) {
	if withHeaders, ok := codec.(codecs.HeaderCodec[T]); ok {
		return withHeaders.DecodeWithHeaders
	}
	return func(_ []codecs.Header, data []byte) (T, error) { return codec.Decode(data) }
}
