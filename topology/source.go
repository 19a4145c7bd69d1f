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
	out := &port[K, V]{node: node}
	node.Start = decodeEntry(node, topic.key, topic.value, out)
	return Stream[K, V]{builder: b, out: out, key: topic.key, value: topic.value}
}

// decodeEntry returns the function that assembles a source: bytes in, typed records out.
func decodeEntry[K, V any](node *graph.Node, key codecs.Codec[K], value codecs.Codec[V], out *port[K, V]) func(*graph.Context) (graph.Entry, error) {
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
func decoder[T any](codec codecs.Codec[T]) func([]codecs.Header, []byte) (T, error) {
	if withHeaders, ok := codec.(codecs.HeaderCodec[T]); ok {
		return withHeaders.DecodeWithHeaders
	}
	return func(_ []codecs.Header, data []byte) (T, error) { return codec.Decode(data) }
}
