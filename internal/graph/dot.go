package graph

import (
	"fmt"
	"strings"
)

// DOT describes the graph in Graphviz's language: boxes are operators, cylinders are stores, notes are topics.
func (g *Graph) DOT() string {
	v := newView(g)
	var out strings.Builder
	fmt.Fprintf(&out, "digraph %s {\n  rankdir=TB;\n  node [fontname=\"Helvetica\", shape=box];\n", dotQuote(g.Application))
	names, internal := v.topics()
	for _, name := range names {
		style := ""
		if internal[name] {
			style = ", style=dashed"
		}
		fmt.Fprintf(&out, "  %s [label=%s, shape=note%s];\n", dotQuote("topic "+name), dotQuote(name), style)
	}
	for i, sub := range g.SubTopologies {
		fmt.Fprintf(&out, "  subgraph cluster_%d {\n    label=%s;\n", i+1, dotQuote(sub.Group))
		for _, store := range sub.Stores {
			fmt.Fprintf(&out, "    %s [label=%s, shape=cylinder];\n", dotQuote("store "+store.Name), dotQuote(store.Name))
		}
		for _, node := range v.nodes(sub) {
			fmt.Fprintf(&out, "    n%d [label=%s];\n", v.number[node], dotQuote(node.Name))
		}
		out.WriteString("  }\n")
		v.edges(sub, func(from, to string) { fmt.Fprintf(&out, "  %s -> %s;\n", dotQuote(from), dotQuote(to)) },
			func(node, store string) {
				fmt.Fprintf(&out, "  %s -> %s [dir=both, style=dotted];\n", dotQuote(node), dotQuote(store))
			})
	}
	out.WriteString("}\n")
	return out.String()
}

// edges gives all edges of a sub-topology, in order: between operators (n1), topics (topic x) and stores (store x).
func (v *view) edges(sub *SubTopology, flow, keeps func(from, to string)) {
	for _, node := range v.nodes(sub) {
		name := fmt.Sprintf("n%d", v.number[node])
		if node.Kind == Source {
			flow("topic "+node.Topic.Name, name)
		}
		for _, child := range v.children(node) {
			flow(name, fmt.Sprintf("n%d", v.number[child]))
		}
		if node.Topic != nil && node.Kind != Source {
			flow(name, "topic "+node.Topic.Name)
		}
		for _, store := range node.Stores {
			keeps(name, "store "+store.Name)
		}
	}
}

func dotQuote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}
