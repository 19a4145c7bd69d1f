package topology

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/internal/graph"
)

// Topology is a checked, immutable description. It is safe for concurrent use.
type Topology struct {
	graph *graph.Graph
}

// Application returns the application's name.
func (t *Topology) Application() string { return t.graph.Application }

// Graph returns the erased form, for the packages of this module that run or print it.
func (t *Topology) Graph() *graph.Graph { return t.graph }

// Build checks everything that was defined and returns the topology. The error joins every problem found, each naming its
// node, and wraps ErrInvalid.
func (b *Builder) Build() (*Topology, error) {
	b.built = true
	g := &graph.Graph{Application: b.application, Nodes: b.nodes}
	g.Split()
	problems := append([]string(nil), b.problems...)
	for _, node := range b.nodes {
		for _, problem := range node.Problems {
			problems = append(problems, node.Name+": "+problem)
		}
	}
	problems = append(problems, b.checkGraph(g)...)
	if len(problems) == 0 {
		return &Topology{graph: g}, nil
	}
	errs := make([]error, 0, len(problems))
	for _, problem := range problems {
		errs = append(errs, fmt.Errorf("%w: %s", ErrInvalid, problem))
	}
	return nil, errors.Join(errs...)
}

// checkGraph finds what no single node can know.
func (b *Builder) checkGraph(g *graph.Graph) (problems []string) {
	if len(b.nodes) == 0 {
		problems = append(problems, fmt.Sprintf("application %q: no operator is defined; begin with From", b.application))
	}
	sources := map[string]*graph.Node{}
	for _, node := range g.Nodes {
		if node.Kind != graph.Source {
			continue
		}
		if first, twice := sources[node.Topic.Name]; twice {
			problems = append(problems, fmt.Sprintf("%s: topic %q is read by %s already; use that stream twice instead", node.Name, node.Topic.Name, first.Name))
		}
		sources[node.Topic.Name] = node
		if len(node.Children) == 0 {
			problems = append(problems, node.Name+": nothing is done with the stream; remove it or go on to To, Decide, …")
		}
	}
	for _, sub := range g.SubTopologies {
		partitions, named := int32(0), ""
		for _, source := range sub.Sources {
			switch {
			case source.Topic.Partitions == 0:
			case partitions == 0:
				partitions, named = source.Topic.Partitions, source.Topic.Name
			case partitions != source.Topic.Partitions:
				problems = append(problems, fmt.Sprintf("%s: topic %q has %d partitions, %q has %d; topics that are processed together need the same number: repartition one of them",
					source.Name, source.Topic.Name, source.Topic.Partitions, named, partitions))
			}
		}
	}
	return problems
}
