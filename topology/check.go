package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/internal/graph"
)

// checkGraph finds what no single operator can know.
func (b *Builder) checkGraph(g *graph.Graph) (problems []string) {
	if len(g.Nodes) == 0 {
		return []string{fmt.Sprintf("application %q: no operator is defined; begin with From", b.application)}
	}
	problems = append(problems, checkUnused(g)...)
	problems = append(problems, checkSources(g)...)
	problems = append(problems, checkTopics(g)...)
	problems = append(problems, checkReserved(g)...)
	problems = append(problems, checkPartitions(g)...)
	problems = append(problems, checkGroups(g)...)
	return append(problems, checkCycles(g)...)
}

// checkUnused finds the operators whose result goes nowhere.
func checkUnused(g *graph.Graph) (problems []string) {
	for _, node := range g.Nodes {
		switch {
		case len(node.Children) > 0, node.Terminal, node.Kind == graph.Stateful:
		case node.Operator == "split":
			problems = append(problems, node.Name+": it has no branch; call Branch or Default")
		case node.Operator == "peek":
			problems = append(problems, node.Name+": nothing follows it; use ForEach where a stream ends")
		default:
			problems = append(problems, node.Name+": nothing is done with its result; remove it or go on, to To, ToTable, ForEach, …")
		}
	}
	return problems
}

// checkSources finds topics that are read twice, and repartitions of one name.
func checkSources(g *graph.Graph) (problems []string) {
	readers, repartitions := map[string]*graph.Node{}, map[string]*graph.Node{}
	for _, node := range g.Nodes {
		switch {
		case node.Kind == graph.Source && !node.Topic.Internal:
			if known, twice := readers[node.Topic.Name]; twice {
				problems = append(problems, fmt.Sprintf("%s: topic %q is read by %s already; use that stream or table twice instead", node.Name, node.Topic.Name, known.Name))
			} else {
				readers[node.Topic.Name] = node
			}
		case node.Kind == graph.Repartition && node.Topic.Name != graph.RepartitionTopic(g.Application, ""):
			if known, twice := repartitions[node.Topic.Name]; twice {
				problems = append(problems, fmt.Sprintf("%s: topic %q is that of %s already; give one of the two another name", node.Name, node.Topic.Name, known.Name))
			} else {
				repartitions[node.Topic.Name] = node
			}
		}
	}
	return problems
}

// checkTopics finds topics of which two nodes expect different things.
func checkTopics(g *graph.Graph) (problems []string) {
	first := map[string]*graph.Node{}
	for _, node := range g.Nodes {
		if node.Topic == nil || node.Topic.Internal {
			continue
		}
		other, known := first[node.Topic.Name]
		if !known {
			first[node.Topic.Name] = node
			continue
		}
		here, there := node.Topic, other.Topic
		if here.KeyType != there.KeyType || here.ValueType != there.ValueType {
			problems = append(problems, fmt.Sprintf("%s: topic %q has (%s) here and (%s) in %s; a topic has one type of keys and one of values",
				node.Name, here.Name, here.Type, there.Type, other.Name))
		}
		if here.Partitions > 0 && there.Partitions > 0 && here.Partitions != there.Partitions {
			problems = append(problems, fmt.Sprintf("%s: topic %q has %d partitions here and %d in %s", node.Name, here.Name, here.Partitions, there.Partitions, other.Name))
		}
		if here.Retention != 0 && there.Retention != 0 && here.Retention != there.Retention {
			problems = append(problems, fmt.Sprintf("%s: topic %q is kept for %v here and for %v in %s (below zero is for ever)", node.Name, here.Name, here.Retention, there.Retention, other.Name))
		}
	}
	return problems
}

// checkReserved finds topics of the user that are the application's own.
func checkReserved(g *graph.Graph) (problems []string) {
	own := map[string]string{g.DeadLetterTopic(): "the application's dead-letter topic"}
	for _, node := range g.Nodes {
		if node.Topic != nil && node.Topic.Internal {
			own[node.Topic.Name] = "a repartition topic of the application"
		}
		for _, store := range node.Stores {
			own[store.Changelog] = "the changelog of store " + store.Name
		}
	}
	for _, node := range g.Nodes {
		if node.Topic == nil || node.Topic.Internal {
			continue
		}
		if what, taken := own[node.Topic.Name]; taken {
			problems = append(problems, fmt.Sprintf("%s: topic %q is %s; it is not for other records nor for reading here", node.Name, node.Topic.Name, what))
		}
	}
	return problems
}

// checkPartitions finds sub-topologies whose sources are not co-partitioned, as far as that is declared.
func checkPartitions(g *graph.Graph) (problems []string) {
	for _, sub := range g.SubTopologies {
		var first *graph.Topic
		for _, source := range sub.Sources {
			switch {
			case source.Topic.Partitions <= 0:
			case first == nil:
				first = source.Topic
			case first.Partitions != source.Topic.Partitions:
				problems = append(problems, fmt.Sprintf("%s: topic %q has %d partitions, %q has %d; topics that are processed together need the same number: repartition one of them",
					source.Name, source.Topic.Name, source.Topic.Partitions, first.Name, first.Partitions))
			}
		}
	}
	return problems
}

// checkGroups finds sub-topologies whose consumer groups would have one name.
func checkGroups(g *graph.Graph) (problems []string) {
	first := map[string]*graph.SubTopology{}
	for _, sub := range g.SubTopologies {
		if len(sub.Sources) == 0 {
			continue
		}
		other, taken := first[sub.Group]
		if taken && sub.Sources[0].Topic.Name != other.Sources[0].Topic.Name {
			problems = append(problems, fmt.Sprintf("%s: what reads it and what reads %q would be one consumer group, %q; rename one of the topics",
				sub.Sources[0].Name, other.Sources[0].Topic.Name, sub.Group))
		}
		first[sub.Group] = sub
	}
	return problems
}

// checkCycles finds topics through which the application would feed itself.
func checkCycles(g *graph.Graph) (problems []string) {
	feeds := feedsOf(g)
	state := map[*graph.SubTopology]int{} // 1: on the path, 2: done
	var path []feed
	var visit func(*graph.SubTopology)
	visit = func(sub *graph.SubTopology) {
		state[sub] = 1
		for _, f := range feeds[sub] {
			path = append(path, f)
			switch state[f.to] {
			case 0:
				visit(f.to)
			case 1:
				problems = append(problems, cycleText(path, f.to))
			}
			path = path[:len(path)-1]
		}
		state[sub] = 2
	}
	for _, sub := range g.SubTopologies {
		if state[sub] == 0 {
			visit(sub)
		}
	}
	return problems
}

// feed is a topic that one sub-topology writes and another, or the same, reads.
type feed struct {
	from, to *graph.SubTopology
	sink     *graph.Node
}

func feedsOf(g *graph.Graph) map[*graph.SubTopology][]feed {
	readers := map[string]*graph.SubTopology{}
	for _, sub := range g.SubTopologies {
		for _, source := range sub.Sources {
			readers[source.Topic.Name] = sub
		}
	}
	feeds := map[*graph.SubTopology][]feed{}
	for _, sub := range g.SubTopologies {
		for _, sink := range sub.Sinks {
			if sink.Topic == nil {
				continue
			}
			if to, ok := readers[sink.Topic.Name]; ok {
				feeds[sub] = append(feeds[sub], feed{from: sub, to: to, sink: sink})
			}
		}
	}
	return feeds
}

// cycleText says what goes round, from the feed that leaves the given sub-topology on.
func cycleText(path []feed, start *graph.SubTopology) string {
	from := slices.IndexFunc(path, func(f feed) bool { return f.from == start })
	round := path[from:]
	if len(round) == 1 {
		return fmt.Sprintf("%s: topic %q is both read and written by sub-topology %q: its records would go round for ever",
			round[0].sink.Name, round[0].sink.Topic.Name, start.Name)
	}
	topics := make([]string, 0, len(round)+1)
	for _, f := range round {
		topics = append(topics, f.sink.Topic.Name)
	}
	topics = append(topics, topics[0])
	return fmt.Sprintf("%s: its records would go round for ever: %s", round[len(round)-1].sink.Name, strings.Join(topics, " → "))
}
