package graph

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"time"
)

// view is a graph in the order in which it is described. The order follows from what the nodes are and do, not from the
// order of their definition: children are ordered by label, then by all that follows them.
type view struct {
	graph  *Graph
	digest map[*Node][sha256.Size]byte
	// number of each node in the order of the description, from 1.
	number map[*Node]int
}

func newView(g *Graph) *view {
	v := &view{graph: g, digest: map[*Node][sha256.Size]byte{}, number: map[*Node]int{}}
	for _, sub := range g.SubTopologies {
		v.walk(sub, func(node *Node, _ int, first bool) {
			if first {
				v.number[node] = len(v.number) + 1
			}
		})
	}
	return v
}

// NameNodes gives each node the name that descriptions and dead letters use: its label, numbered in the order of the
// description where several have the same. It is called once, when the graph is complete.
func (g *Graph) NameNodes() {
	v := newView(g)
	used := map[string]int{}
	for _, sub := range g.SubTopologies {
		for _, node := range v.nodes(sub) {
			node.Name = node.Label
			used[node.Label]++
			if n := used[node.Label]; n > 1 {
				node.Name = fmt.Sprintf("%s#%d", node.Label, n)
			}
		}
	}
}

// walk visits the nodes of a sub-topology from its sources on, each with its depth, as often as it has parents; what
// follows a node is visited the first time only.
func (v *view) walk(sub *SubTopology, visit func(node *Node, depth int, first bool)) {
	seen := map[*Node]bool{}
	var down func(*Node, int)
	down = func(node *Node, depth int) {
		first := !seen[node]
		seen[node] = true
		visit(node, depth, first)
		if !first {
			return
		}
		for _, child := range v.children(node) {
			down(child, depth+1)
		}
	}
	for _, source := range sub.Sources {
		down(source, 0)
	}
}

// nodes returns the nodes of a sub-topology, each once, in the order of the description.
func (v *view) nodes(sub *SubTopology) (nodes []*Node) {
	v.walk(sub, func(node *Node, _ int, first bool) {
		if first {
			nodes = append(nodes, node)
		}
	})
	return nodes
}

func (v *view) children(node *Node) []*Node {
	ordered := append([]*Node(nil), node.Children...)
	sort.SliceStable(ordered, func(i, j int) bool {
		a, b := ordered[i], ordered[j]
		if a.Label != b.Label {
			return a.Label < b.Label
		}
		x, y := v.sum(a), v.sum(b)
		return string(x[:]) < string(y[:])
	})
	return ordered
}

// sum returns a digest of a node and all that follows it.
func (v *view) sum(node *Node) [sha256.Size]byte {
	if known, ok := v.digest[node]; ok {
		return known
	}
	sums := make([]string, 0, len(node.Children))
	for _, child := range node.Children {
		sum := v.sum(child)
		sums = append(sums, string(sum[:]))
	}
	sort.Strings(sums)
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q %q", node.Label, topicText(node), sums)
	for _, store := range node.Stores {
		fmt.Fprintf(hash, " %q", store.Name)
	}
	var digest [sha256.Size]byte
	hash.Sum(digest[:0])
	v.digest[node] = digest
	return digest
}

// topicText says what is expected of a node's topic.
func topicText(node *Node) string {
	switch {
	case node.Dynamic:
		return "topic chosen per record"
	case node.Topic == nil:
		return ""
	}
	text := "topic " + node.Topic.Name + " (" + node.Topic.Type + ")"
	if node.Topic.Internal {
		text += ", internal"
	}
	if node.Topic.Partitions > 0 {
		text += fmt.Sprintf(", %d partitions", node.Topic.Partitions)
	}
	if node.Topic.Partitioner != nil {
		text += ", partitioned by a part of its key"
	}
	if retention := retentionText(node.Topic); retention != "" {
		text += ", " + retention
	}
	return text
}

// retentionText says how long a topic's records are kept; internal topics need no word.
func retentionText(topic *Topic) string {
	switch {
	case topic.Internal || topic.Retention == 0:
		return ""
	case topic.Retention < 0:
		return "kept for ever"
	}
	return "kept for " + topic.Retention.String()
}

// storeText says what a store is.
func storeText(store *Store) string {
	text := "store " + store.Name + " (" + store.Type + "), changelog " + store.Changelog
	if store.MinCompactionLag > 0 {
		text += ", compacted after " + store.MinCompactionLag.Round(time.Millisecond).String()
	}
	return text
}

// topics returns the names of all topics that the graph names, ordered, and which of them are internal.
func (v *view) topics() (names []string, internal map[string]bool) {
	internal = map[string]bool{}
	for _, node := range v.graph.Nodes {
		if node.Topic == nil {
			continue
		}
		if _, known := internal[node.Topic.Name]; !known {
			names = append(names, node.Topic.Name)
		}
		internal[node.Topic.Name] = node.Topic.Internal
	}
	sort.Strings(names)
	return names, internal
}
