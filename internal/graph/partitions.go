package graph

import (
	"errors"
	"fmt"
)

// ErrPartitions says that topics which are processed together have different numbers of partitions.
var ErrPartitions = errors.New("topics that are processed together need the same number of partitions")

// CountPartitions returns the number of partitions of each topic that the graph reads, and of each repartition topic: what
// existing says of topics that exist, else what the topology asks for, else fallback. A repartition topic that nothing was
// asked of gets the greatest number among the topics that its records come from, as in Kafka Streams.
func (g *Graph) CountPartitions(existing func(topic string) (int32, bool), fallback int32) (map[string]int32, error) {
	counts := map[string]int32{}
	open := 0
	for _, sub := range g.SubTopologies {
		for _, source := range sub.Sources {
			topic := source.Topic
			count, ok := existing(topic.Name)
			switch {
			case ok:
			case topic.Partitions > 0:
				count = topic.Partitions
			case topic.Internal:
				open++
				continue
			default:
				count = fallback
			}
			counts[topic.Name] = count
		}
	}
	for before := open + 1; open > 0 && open < before; {
		before = open
		open -= g.inherit(counts)
	}
	for _, sub := range g.SubTopologies {
		if err := sub.checkPartitions(counts); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// inherit counts the repartition topics whose writers are counted by now.
func (g *Graph) inherit(counts map[string]int32) (found int) {
	for _, reader := range g.SubTopologies {
		for _, source := range reader.Sources {
			if _, ok := counts[source.Topic.Name]; ok {
				continue
			}
			if count := g.upstream(source.Topic.Name, counts); count > 0 {
				counts[source.Topic.Name] = count
				found++
			}
		}
	}
	return found
}

// upstream returns the greatest count among what the writers of a topic read; 0 if one of those is not counted yet.
func (g *Graph) upstream(topic string, counts map[string]int32) (greatest int32) {
	for _, writer := range g.SubTopologies {
		writes := false
		for _, sink := range writer.Sinks {
			writes = writes || sink.Topic != nil && sink.Topic.Name == topic
		}
		if !writes {
			continue
		}
		for _, source := range writer.Sources {
			count, ok := counts[source.Topic.Name]
			if !ok {
				return 0
			}
			greatest = max(greatest, count)
		}
	}
	return greatest
}

func (s *SubTopology) checkPartitions(counts map[string]int32) error {
	for _, source := range s.Sources[min(1, len(s.Sources)):] {
		first := s.Sources[0].Topic.Name
		if counts[source.Topic.Name] != counts[first] {
			return fmt.Errorf("sub-topology %s: %s has %d partitions, %s has %d: %w: repartition one of them",
				s.Name, first, counts[first], source.Topic.Name, counts[source.Topic.Name], ErrPartitions)
		}
	}
	return nil
}
