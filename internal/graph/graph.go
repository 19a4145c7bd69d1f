// Package graph is the erased form of a topology: nodes, topics and stores without their Go types, and the context in
// which a task runs them.
//
// Package topology builds a Graph with full types and leaves in each source node a function that assembles the typed
// pipeline of one task, so that nothing is boxed on the way of a record. Package task runs it; describe and validation
// read it. A Graph is immutable once built and safe for concurrent use; a Context belongs to one task.
package graph

import (
	"reflect"
	"time"

	"github.com/tidemill/tidemill/codecs"
)

// Kind says what a node does. The texts appear in descriptions.
type Kind string

// The kinds of node.
const (
	Source      Kind = "source"
	Sink        Kind = "sink"
	Stateless   Kind = "stateless"
	Stateful    Kind = "stateful"
	Repartition Kind = "repartition"
)

// Topic is a topic that the topology reads or writes.
type Topic struct {
	Name string
	// Partitions is the wanted count; 0 takes what the topic has, or the default where it is created.
	Partitions int32
	// Internal topics (repartition) belong to the application, which creates and deletes them.
	Internal bool
	// Retention of records; negative keeps them for ever, 0 leaves it to the broker.
	Retention time.Duration
	// KeyType and ValueType are the Go types of key and value: one topic has one pair. Type names them, for descriptions.
	KeyType, ValueType reflect.Type
	Type               string
	// Partitioner says which part of a key decides its partition; nil is the whole key.
	Partitioner codecs.Partitioner
}

// Store is a named state store of a task.
type Store struct {
	Name string
	// Changelog is the compacted topic that backs the store; it is empty for a store derived from another's changelog.
	Changelog string
	// Timestamped rows begin with their record's timestamp (AppendRow), which an aggregation needs as Kafka Streams does: its
	// result is as new as the newest record in it. A changelog record holds the value alone, and the timestamp as its own.
	Timestamped bool
	// MinCompactionLag keeps changelog records from compaction for so long: a derived store is rebuilt from them.
	MinCompactionLag time.Duration
	// Derive, if set, is called for each changelog record that a restore applies, after the row itself, and writes what
	// follows from the record's own header into derived stores. It must do what the live path did.
	Derive func(key, value, extra []byte, timestamp int64, put func(store string, key, value []byte))
	// DerivedStores names the stores that Derive writes; they are wiped together with this one.
	DerivedStores []string
	// DerivedExpiry, if set, says that rows of the derived stores are put once, looked up one by one, and not needed any more
	// from the stream time on that it returns, in milliseconds.
	DerivedExpiry func(row []byte) int64
	// Type names the Go types of key and value, for descriptions.
	Type string
}

// Node is one operator of the topology.
type Node struct {
	// ID numbers the nodes in the order of their definition. It names nothing that is stored.
	ID int
	// Name is the node in descriptions, dead letters and errors: its label, numbered where there are several of one label.
	// Until the graph is complete the numbers follow the definition, then the description (NameNodes).
	Name string
	// Label is what the operator is, and the name that the user gave it.
	Label    string
	Kind     Kind
	Operator string // as the DSL calls it: "mapValues", "decide"
	Parents  []*Node
	Children []*Node
	Topic    *Topic // of a source, sink or repartition
	Dynamic  bool   // a sink that chooses its topic per record
	Stores   []*Store
	// Terminal nodes are an end in themselves: nothing has to follow them.
	Terminal bool
	// Start assembles a source's typed pipeline for one task.
	Start func(*Context) (Entry, error)
	// Problems of the node found while it was defined; Build reports them.
	Problems []string
}

// Entry takes one record of a source topic into the typed pipeline. The record's other fields are in the context.
type Entry func(ctx *Context, key, value []byte) error

// Graph is a whole topology.
type Graph struct {
	Application string
	Nodes       []*Node
	// SubTopologies are the connected parts between topics, ordered by name. Each runs as a consumer group of its own.
	SubTopologies []*SubTopology
}

// SubTopology is a connected part of the graph: its source topics are co-partitioned, its tasks are numbered by partition.
type SubTopology struct {
	Name string
	// Group is the consumer group's name: application and sub-topology.
	Group       string
	Application string
	Nodes       []*Node
	Sources     []*Node // ordered by topic
	Sinks       []*Node
	Stores      []*Store // ordered by name
}

// SourceTopics returns the topics that the sub-topology reads, in order.
func (s *SubTopology) SourceTopics() []string {
	names := make([]string, 0, len(s.Sources))
	for _, source := range s.Sources {
		names = append(names, source.Topic.Name)
	}
	return names
}

// DeadLetterTopic returns the topic to which records that cannot be processed go.
func (g *Graph) DeadLetterTopic() string { return DeadLetterTopic(g.Application) }

// DeadLetterTopic returns the name of an application's dead-letter topic.
func DeadLetterTopic(application string) string { return application + "-dead-letters" }

// ChangelogTopic returns the name of a store's changelog topic, as Kafka Streams names it.
func ChangelogTopic(application, store string) string {
	return application + "-" + store + "-changelog"
}

// RepartitionTopic returns the name of a repartition topic, as Kafka Streams names it.
func RepartitionTopic(application, name string) string {
	return application + "-" + name + "-repartition"
}
