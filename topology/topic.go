package topology

import (
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Topic is a topic outside the application: its name, its codecs and what the application expects of it. A Topic is a
// value, and may be shared by topologies, commanders and views.
type Topic[K, V any] struct {
	name       string
	key        codecs.Codec[K]
	value      codecs.Codec[V]
	partitions int32
	retention  time.Duration
}

// TopicOption changes what is expected of a topic.
type TopicOption func(*topicOptions)

type topicOptions struct {
	partitions int32
	retention  time.Duration
}

// Forever says that the topic's records are kept for ever (retention.ms=-1): the topic is created so, and an existing one
// that is not is refused at start-up.
func Forever() TopicOption { return func(o *topicOptions) { o.retention = -1 } }

// Partitions says how many partitions the topic has: it is created so, and an existing one with another count is refused.
// Without it a new topic gets the application's default.
func Partitions(count int32) TopicOption { return func(o *topicOptions) { o.partitions = count } }

// NewTopic returns a topic with its key and value codecs.
func NewTopic[K, V any](name string, key codecs.Codec[K], value codecs.Codec[V], options ...TopicOption) Topic[K, V] {
	var o topicOptions
	for _, option := range options {
		option(&o)
	}
	return Topic[K, V]{name: name, key: key, value: value, partitions: o.partitions, retention: o.retention}
}

// Name returns the topic's name.
func (t Topic[K, V]) Name() string { return t.name }

// Key returns the codec of keys.
func (t Topic[K, V]) Key() codecs.Codec[K] { return t.key }

// Value returns the codec of values.
func (t Topic[K, V]) Value() codecs.Codec[V] { return t.value }

// erased returns the topic for the graph.
func (t Topic[K, V]) erased() *graph.Topic {
	return &graph.Topic{
		Name: t.name, Partitions: t.partitions, Retention: t.retention,
		KeyType: reflect.TypeFor[K](), ValueType: reflect.TypeFor[V](), Type: typesOf[K, V](), Partitioner: codecs.PartitionerOf(t.key),
	}
}

// check notes what is wrong with the topic on the node that uses it.
func (t Topic[K, V]) check(b *Builder, node *graph.Node) {
	if err := checkTopicName(t.name); err != nil {
		b.problem(node, "topic: %v", err)
	}
	if t.partitions < 0 {
		b.problem(node, "topic %s: %d partitions; leave the option away to take what the topic has", t.name, t.partitions)
	}
	needsCodec(b, node, t.key, "key of topic "+t.name, "give one to NewTopic")
	needsCodec(b, node, t.value, "value of topic "+t.name, "give one to NewTopic")
}

// maxTopic is Kafka's limit.
const maxTopic = 249

func checkTopicName(name string) error {
	if len(name) > maxName {
		if len(name) > maxTopic {
			return fmt.Errorf("the name has %d characters, Kafka allows %d", len(name), maxTopic)
		}
		return checkCharacters(name)
	}
	return checkName(name)
}

func typesOf[K, V any]() string { return typeName[K]() + ", " + typeName[V]() }

// typeName names a type as code does: a type argument of a generic type without its package's path.
func typeName[T any]() string { return importPath.ReplaceAllString(reflect.TypeFor[T]().String(), "") }

var importPath = regexp.MustCompile(`[^\[\],* ]*/`)
