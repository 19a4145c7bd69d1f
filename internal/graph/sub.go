package graph

import (
	"sort"
	"strings"
)

// Split sets g.SubTopologies: the nodes that are connected without a topic between them, or that share a store. A
// repartition is a sink of the one part and, through its topic, a source of the other.
func (g *Graph) Split() {
	parent := make([]int, len(g.Nodes))
	for i := range parent {
		parent[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if parent[i] != i {
			parent[i] = find(parent[i])
		}
		return parent[i]
	}
	union := func(a, b *Node) { parent[find(a.ID)] = find(b.ID) }
	users := map[*Store]*Node{}
	for _, node := range g.Nodes {
		for _, child := range node.Children {
			union(node, child)
		}
		for _, store := range node.Stores {
			if first, ok := users[store]; ok {
				union(first, node)
			} else {
				users[store] = node
			}
		}
	}
	parts := map[int]*SubTopology{}
	var order []int
	for _, node := range g.Nodes {
		root := find(node.ID)
		part, ok := parts[root]
		if !ok {
			part = &SubTopology{Application: g.Application}
			parts[root] = part
			order = append(order, root)
		}
		part.add(node)
	}
	g.SubTopologies = g.SubTopologies[:0]
	for _, root := range order {
		part := parts[root]
		part.finish()
		g.SubTopologies = append(g.SubTopologies, part)
	}
	sort.Slice(g.SubTopologies, func(i, j int) bool { return g.SubTopologies[i].Name < g.SubTopologies[j].Name })
}

func (s *SubTopology) add(node *Node) {
	s.Nodes = append(s.Nodes, node)
	switch {
	case node.Kind == Source:
		s.Sources = append(s.Sources, node)
	case node.Kind == Sink, node.Kind == Repartition:
		s.Sinks = append(s.Sinks, node)
	}
	for _, store := range node.Stores {
		known := false
		for _, have := range s.Stores {
			known = known || have == store
		}
		if !known {
			s.Stores = append(s.Stores, store)
		}
	}
}

// finish orders the parts and derives the names. The group is named by what the sub-topology reads, never by where it
// stands in the code: its first source topic, without the application's prefix.
func (s *SubTopology) finish() {
	sort.Slice(s.Sources, func(i, j int) bool { return s.Sources[i].Topic.Name < s.Sources[j].Topic.Name })
	sort.Slice(s.Stores, func(i, j int) bool { return s.Stores[i].Name < s.Stores[j].Name })
	if len(s.Sources) == 0 {
		return
	}
	s.Name = strings.TrimPrefix(s.Sources[0].Topic.Name, s.Application+"-")
	s.Group = s.Application + "-" + s.Name
}
