package topologytest

import (
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/task"
)

// broker is a log as Kafka keeps it, for one producer with one transaction at a time.
type broker struct {
	counts   map[string]int32 // partitions by topic
	parts    map[string]codecs.Partitioner
	fallback int32
	topics   map[string][]*segment
	appended int64 // records so far, over all topics
	offsets  map[place]committed
}

// segment is one partition of a topic. An entry's index is its offset.
type segment struct {
	entries []entry
	pending int // entries of the open transaction
}

type entry struct {
	record task.Record
	state  entryState
	order  int64 // among all entries of the broker
}

type entryState byte

const (
	entryCommitted entryState = iota
	entryPending
	entryAborted
	entryMarker
)

// place is a partition as a consumer group knows it.
type place struct {
	group, topic string
	partition    int32
}

type committed struct {
	offset   int64
	metadata string
}

func newBroker(g *graph.Graph, fallback int32) (*broker, error) {
	none := func(string) (int32, bool) { return 0, false }
	counts, err := g.CountPartitions(none, fallback)
	if err != nil {
		return nil, err
	}
	b := &broker{
		counts: counts, parts: map[string]codecs.Partitioner{}, fallback: fallback, topics: map[string][]*segment{}, offsets: map[place]committed{},
	}
	for _, node := range g.Nodes {
		if node.Topic != nil {
			b.parts[node.Topic.Name] = node.Topic.Partitioner
		}
	}
	for _, sub := range g.SubTopologies {
		for _, store := range sub.Stores {
			counts[store.Changelog] = counts[sub.Sources[0].Topic.Name]
		}
		for _, sink := range sub.Sinks {
			if topic := sink.Topic; topic != nil && counts[topic.Name] == 0 && topic.Partitions > 0 {
				counts[topic.Name] = topic.Partitions
			}
		}
	}
	return b, nil
}

// count returns a topic's number of partitions.
func (b *broker) count(topic string) int32 {
	if count, ok := b.counts[topic]; ok {
		return count
	}
	return b.fallback
}

// partitionFor returns the partition of what decides it, a record's key or what stands in for that; without one it is the
// wished partition, as far as there is one.
func (b *broker) partitionFor(topic string, key []byte, wish int32) int32 {
	if key == nil {
		return wish % b.count(topic)
	}
	return partition.ForKey(key, b.count(topic))
}

// deciding returns what decides the partition of a key that is written from outside.
func (b *broker) deciding(topic string, key []byte) []byte {
	if key == nil {
		return nil
	}
	return codecs.AppendPartitionKey(b.parts[topic], []byte{}, key)
}

func (b *broker) segments(topic string) []*segment {
	segments := b.topics[topic]
	if segments == nil {
		for range b.count(topic) {
			segments = append(segments, &segment{})
		}
		b.topics[topic] = segments
	}
	return segments
}

// append adds a record and returns its offset. Topic and partition must be set.
func (b *broker) append(record task.Record, state entryState) int64 {
	s := b.segments(record.Topic)[record.Partition]
	record.Offset = int64(len(s.entries))
	b.appended++
	s.entries = append(s.entries, entry{record: record, state: state, order: b.appended})
	if state == entryPending {
		s.pending++
	}
	return record.Offset
}

// end ends the transaction: all pending entries get the state, each partition that has any gets a marker.
func (b *broker) end(state entryState) {
	for _, segments := range b.topics {
		for _, s := range segments {
			for i := len(s.entries) - 1; s.pending > 0; i-- {
				if s.entries[i].state == entryPending {
					s.entries[i].state = state
					s.pending--
				}
				if s.pending == 0 {
					s.entries = append(s.entries, entry{state: entryMarker})
				}
			}
		}
	}
}

// next returns the first committed entry from an offset on that lies before any open transaction.
func (s *segment) next(offset int64) (entry, bool) {
	for ; offset < int64(len(s.entries)); offset++ {
		switch s.entries[offset].state {
		case entryCommitted:
			return s.entries[offset], true
		case entryPending:
			return entry{}, false
		}
	}
	return entry{}, false
}

// group returns a group's committed offset and metadata.
func (b *broker) group(group, topic string, partition int32) (int64, meta.Offset, error) {
	at := b.offsets[place{group: group, topic: topic, partition: partition}]
	metadata, err := meta.ParseOffset(at.metadata)
	return at.offset, metadata, err
}
