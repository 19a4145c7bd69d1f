package topology

import (
	"reflect"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Repartition writes the stream to the internal topic <application>-<name>-repartition and reads it again, so that all
// records of a key meet in one task. name is mandatory. A nil codec takes the stream's own. Of the options, Partitions sets
// the topic's number of partitions; without it the topic gets as many as the stream's source has.
func (s Stream[K, V]) Repartition(name string, key codecs.Codec[K], value codecs.Codec[V], options ...TopicOption) Stream[K, V] {
	if key == nil {
		key = s.key
	}
	if value == nil {
		value = s.value
	}
	var o topicOptions
	for _, option := range options {
		option(&o)
	}
	out, node := repartition(s.out, name, key, value, o)
	needsKey(s.builder, node, key)
	needsValue(s.builder, node, value)
	if err := checkName(name); err != nil {
		s.builder.problem(node, "%v: the topic is found again by it, so give it one that stays", err)
	}
	return Stream[K, V]{builder: s.builder, out: out, key: key, value: value}
}

// repartition adds a sink and a source of one internal topic: the border between two sub-topologies.
func repartition[K, V any](from *port[K, V], name string, key codec[K], value codec[V], o topicOptions) (*port[K, V], *graph.Node) {
	b := from.builder
	topic := &graph.Topic{
		Name: graph.RepartitionTopic(b.application, name), Partitions: o.partitions, Internal: true, Retention: -1,
		KeyType: reflect.TypeFor[K](), ValueType: reflect.TypeFor[V](), Type: typesOf[K, V](), Partitioner: codecs.PartitionerOf(key),
	}
	write := b.node(graph.Repartition, "repartition", name, from.node)
	write.Topic, write.Terminal = topic, true
	if o.partitions < 0 {
		b.problem(write, "%d partitions; leave the option away to take as many as the source has", o.partitions)
	}
	from.attach(func(*graph.Context) (handler[K, V], error) {
		w := newWriter(write, key, value)
		return func(ctx *graph.Context, key K, value V) error { return w.emit(ctx, topic.Name, key, value) }, nil
	})
	read := b.node(graph.Source, "from", topic.Name)
	read.Topic = topic
	if b.built || key == nil || value == nil {
		return newPort[K, V](b, read), write
	}
	return source(b, read, key, value), write
}
