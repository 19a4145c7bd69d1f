package graph

import (
	"fmt"
	"strings"
)

// Text describes the graph for people: each sub-topology with its nodes, indented below what feeds them, and its stores. A
// node with several inputs has a number in brackets and is described below the first.
func (g *Graph) Text() string {
	v := newView(g)
	var out strings.Builder
	fmt.Fprintf(&out, "application %s\n", g.Application)
	merges := map[*Node]int{}
	for _, sub := range g.SubTopologies {
		fmt.Fprintf(&out, "\nsub-topology %s, consumer group %s\n", sub.Name, sub.Group)
		v.walk(sub, func(node *Node, depth int, first bool) {
			line := strings.Repeat("  ", depth+1) + node.Operator
			if len(node.Parents) > 1 {
				if first {
					merges[node] = len(merges) + 1
				}
				line += fmt.Sprintf(" [%d]", merges[node])
			}
			if !first {
				out.WriteString(line + ", see above\n")
				return
			}
			out.WriteString(line + nodeText(node) + "\n")
		})
		for _, store := range sub.Stores {
			out.WriteString("  " + storeText(store) + "\n")
		}
	}
	return out.String()
}

// nodeText says what follows the operator's name in a node's line.
func nodeText(node *Node) string {
	text := ""
	if topic := topicText(node); topic != "" {
		text = " " + topic
	} else if name := strings.TrimPrefix(node.Label, node.Operator); name != "" {
		text = name
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
