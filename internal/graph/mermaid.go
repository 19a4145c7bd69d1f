package graph

import (
	"fmt"
	"strings"
)

// Mermaid describes the graph as a Mermaid flowchart, as Markdown pages show it.
func (g *Graph) Mermaid() string {
	v := newView(g)
	var out strings.Builder
	out.WriteString("flowchart TB\n")
	ids := map[string]string{}
	names, internal := v.topics()
	for i, name := range names {
		id := fmt.Sprintf("t%d", i+1)
		ids["topic "+name] = id
		if internal[name] {
			fmt.Fprintf(&out, "  %s[/%s/]\n", id, mermaidQuote(name))
		} else {
			fmt.Fprintf(&out, "  %s[[%s]]\n", id, mermaidQuote(name))
		}
	}
	stores := 0
	for i, sub := range g.SubTopologies {
		fmt.Fprintf(&out, "  subgraph g%d[%s]\n", i+1, mermaidQuote(sub.Group))
		for _, store := range sub.Stores {
			stores++
			id := fmt.Sprintf("s%d", stores)
			ids["store "+store.Name] = id
			fmt.Fprintf(&out, "    %s[(%s)]\n", id, mermaidQuote(store.Name))
		}
		for _, node := range v.nodes(sub) {
			fmt.Fprintf(&out, "    n%d[%s]\n", v.number[node], mermaidQuote(node.Name))
		}
		out.WriteString("  end\n")
	}
	resolve := func(name string) string {
		if id, ok := ids[name]; ok {
			return id
		}
		return name
	}
	for _, sub := range g.SubTopologies {
		v.edges(sub, func(from, to string) { fmt.Fprintf(&out, "  %s --> %s\n", resolve(from), resolve(to)) },
			func(node, store string) { fmt.Fprintf(&out, "  %s -.- %s\n", resolve(node), resolve(store)) })
	}
	return out.String()
}

func mermaidQuote(text string) string {
	return `"` + strings.NewReplacer(`"`, "#quot;", "#", "#35;", "<", "#lt;", ">", "#gt;").Replace(text) + `"`
}
