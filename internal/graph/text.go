package graph

import (
	"fmt"
	"strings"
)

// Text describes the graph for people: each sub-topology with its nodes, indented below what feeds them, and its stores. A
// node with several inputs is described below the first.
func (g *Graph) Text() string {
	v := newView(g)
	var out strings.Builder
	fmt.Fprintf(&out, "application %s\n", g.Application)
	for _, sub := range g.SubTopologies {
		fmt.Fprintf(&out, "\nsub-topology %s, consumer group %s\n", sub.Name, sub.Group)
		v.walk(sub, func(node *Node, depth int, first bool) {
			out.WriteString(strings.Repeat("  ", depth+1))
			if first {
				out.WriteString(node.Operator + nodeText(node) + "\n")
			} else {
				out.WriteString(node.Name + ", see above\n")
			}
		})
		for _, store := range sub.Stores {
			out.WriteString("  " + storeText(store) + "\n")
		}
	}
	return out.String()
}

// nodeText says what follows the operator in a node's line: its name or its topic, and its stores.
func nodeText(node *Node) string {
	text := strings.TrimPrefix(node.Name, node.Operator)
	if topic := topicText(node); topic != "" {
		text = strings.TrimPrefix(node.Name, node.Label) + " " + topic
	}
	if len(node.Stores) == 0 {
		return text
	}
	names := make([]string, 0, len(node.Stores))
	for _, store := range node.Stores {
		names = append(names, store.Name)
	}
	return text + ", store " + strings.Join(names, ", ")
}
