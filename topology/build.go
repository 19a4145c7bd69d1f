package topology

import (
	"errors"
	"fmt"
	"slices"

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

// Describe returns the topology as text: sub-topologies, topics, operators and stores. The text is stable: it follows from
// what the topology does, not from the order in which independent operators were defined, so that it can be compared line by
// line between two versions.
func (t *Topology) Describe() string { return t.graph.Text() }

// DOT returns the topology as a graph for Graphviz, as stable as Describe.
func (t *Topology) DOT() string { return t.graph.DOT() }

// Mermaid returns the topology as a Mermaid flowchart, as stable as Describe.
func (t *Topology) Mermaid() string { return t.graph.Mermaid() }

// JSON returns the topology as an indented JSON document, as stable as Describe.
func (t *Topology) JSON() string { return t.graph.JSON() }

// Build checks everything that was defined and returns the topology. The error joins every problem found, each naming its
// node, and wraps ErrInvalid. Nothing that is defined afterwards becomes part of the topology: a second Build reports it.
func (b *Builder) Build() (*Topology, error) {
	if !b.built {
		b.built = true
		b.check()
	}
	problems := slices.Clone(b.invalid)
	for _, late := range b.late {
		problems = append(problems, fmt.Errorf("%w: %s", ErrInvalid, late))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return b.topology, nil
}

// check sets b.topology or b.invalid.
func (b *Builder) check() {
	g := &graph.Graph{Application: b.application, Nodes: slices.Clip(b.nodes)}
	g.Split()
	problems := slices.Clone(b.problems)
	for _, node := range g.Nodes {
		for _, problem := range node.Problems {
			problems = append(problems, node.Name+": "+problem)
		}
	}
	problems = append(problems, b.checkGraph(g)...)
	for _, problem := range problems {
		b.invalid = append(b.invalid, fmt.Errorf("%w: %s", ErrInvalid, problem))
	}
	if len(problems) == 0 {
		g.NameNodes()
	}
	b.topology = &Topology{graph: g}
}
