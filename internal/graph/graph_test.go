package graph_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
)

// flow is a graph in the making.
type flow struct{ *graph.Graph }

func newFlow() flow { return flow{&graph.Graph{Application: "app"}} }

func (f flow) node(kind graph.Kind, label, topic string, parents ...*graph.Node) *graph.Node {
	operator, _, _ := strings.Cut(label, " ")
	n := &graph.Node{ID: len(f.Nodes), Name: label, Label: label, Operator: operator, Kind: kind, Parents: parents}
	if topic != "" {
		text := reflect.TypeFor[string]()
		n.Topic = &graph.Topic{Name: topic, KeyType: text, ValueType: text, Type: "string, string", Internal: strings.HasSuffix(topic, "-repartition")}
	}
	for _, parent := range parents {
		parent.Children = append(parent.Children, n)
	}
	f.Nodes = append(f.Nodes, n)
	return n
}

// TestSplit parts a graph at topics, and joins what shares a store.
func TestSplit(t *testing.T) {
	f := newFlow()
	orders := f.node(graph.Source, "from app-orders", "app-orders")
	f.node(graph.Repartition, "repartition x", "app-x-repartition", orders)
	again := f.node(graph.Source, "from app-x-repartition", "app-x-repartition")
	f.node(graph.Sink, "to out", "out", again)
	store := &graph.Store{Name: "shared"}
	for _, name := range []string{"prices", "goods"} {
		f.node(graph.Stateful, "process "+name, "", f.node(graph.Source, "from "+name, name)).Stores = []*graph.Store{store}
	}
	f.Split()
	var got []string
	for _, sub := range f.SubTopologies {
		got = append(got, fmt.Sprintf("%s (%s) reads %v, %d nodes, %d sinks, %d stores", sub.Name, sub.Group, sub.SourceTopics(), len(sub.Nodes), len(sub.Sinks), len(sub.Stores)))
	}
	want := `goods (app-goods) reads [goods prices], 4 nodes, 0 sinks, 1 stores
orders (app-orders) reads [app-orders], 2 nodes, 1 sinks, 0 stores
x-repartition (app-x-repartition) reads [app-x-repartition], 2 nodes, 1 sinks, 0 stores`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestCountPartitions counts what exists, what is asked for, and what repartition topics inherit.
func TestCountPartitions(t *testing.T) {
	f := newFlow()
	a, b := f.node(graph.Source, "from a", "a"), f.node(graph.Source, "from b", "b")
	b.Topic.Partitions = 6
	f.node(graph.Repartition, "repartition x", "app-x-repartition", a)
	f.node(graph.Repartition, "repartition x#2", "app-x-repartition", b)
	x := f.node(graph.Source, "from x", "app-x-repartition")
	f.node(graph.Repartition, "repartition y", "app-y-repartition", x)
	f.node(graph.Sink, "to out", "out", f.node(graph.Source, "from y", "app-y-repartition"))
	f.Split()
	existing := func(topic string) (int32, bool) { return 5, topic == "a" }
	counts, err := f.CountPartitions(existing, 4)
	if got := fmt.Sprint(counts); err != nil || got != "map[a:5 app-x-repartition:6 app-y-repartition:6 b:6]" {
		t.Errorf("got %s, %v", got, err)
	}
	none := func(string) (int32, bool) { return 0, false }
	counts, err = f.CountPartitions(none, 4)
	if got := fmt.Sprint(counts); err != nil || got != "map[a:4 app-x-repartition:6 app-y-repartition:6 b:6]" {
		t.Errorf("got %s, %v", got, err)
	}
	f.node(graph.Stateless, "merge", "", a, b)
	f.Split()
	if _, err := f.CountPartitions(existing, 4); !errors.Is(err, graph.ErrPartitions) || !strings.Contains(err.Error(), "a has 5 partitions, b has 6") {
		t.Errorf("got %v", err)
	}
}

// TestNameNodes numbers what has the same label in the order of the description, not of the definition.
func TestNameNodes(t *testing.T) {
	f := newFlow()
	in := f.node(graph.Source, "from in", "in")
	last := f.node(graph.Stateless, "filter", "", in)
	f.node(graph.Sink, "to z", "z", last)
	first := f.node(graph.Stateless, "filter", "", in)
	f.node(graph.Sink, "to a", "a", first)
	f.Split()
	f.NameNodes()
	before := f.Text()
	in.Children[0], in.Children[1] = in.Children[1], in.Children[0]
	f.NameNodes()
	if f.Text() != before {
		t.Errorf("the description depends on the order of definition:\n%s\n%s", before, f.Text())
	}
	if names := first.Name + " " + last.Name; names != "filter filter#2" && names != "filter#2 filter" {
		t.Errorf("the filters are called %s", names)
	}
}

func TestRows(t *testing.T) {
	timestamp, value, ok := graph.SplitRow(append(graph.AppendRow([]byte{}, -7), "value"...))
	if timestamp != -7 || string(value) != "value" || !ok {
		t.Errorf("got %d, %q, %v", timestamp, value, ok)
	}
	if _, value, ok := graph.SplitRow(graph.AppendRow(nil, 1)); value == nil || len(value) != 0 || !ok {
		t.Errorf("an empty value came back as %v, %v", value, ok)
	}
	if _, _, ok := graph.SplitRow(make([]byte, graph.RowHeader-1)); ok {
		t.Error("half a row is a row")
	}
}

func TestForwardable(t *testing.T) {
	headers := []graph.Header{{Key: "a"}, {Key: "tidemill-cause"}, {Key: "b"}}
	if got := graph.Forwardable(headers); len(got) != 2 || got[0].Key != "a" || got[1].Key != "b" {
		t.Errorf("got %v", got)
	}
	if got := graph.Forwardable(headers[2:]); &got[0] != &headers[2] {
		t.Error("headers without any of the framework's are copied")
	}
}
