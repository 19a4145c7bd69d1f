package topology_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

// shop is a topology with a bit of everything. Its independent parts are defined in the given order.
func shop(t *testing.T, order ...int) *topology.Topology {
	t.Helper()
	b := topology.New("shop")
	orders := b.From(topology.NewTopic("shop-orders", codecs.String(), codecs.String(), topology.Partitions(4), topology.Forever()))
	audit := topology.KeyValueStore("audit", codecs.String(), codecs.String())
	parts := []func(){
		func() {
			orders.GroupBy(func(_, v string) string { return v[:1] }, codecs.String()).Count("by-letter").
				ToStream().To(topology.NewTopic("shop-counts", codecs.String(), codecs.Int64()))
		},
		func() {
			kinds := orders.Split()
			kinds.Branch(func(_, v string) bool { return v == "cheap" }).To(textTopic("shop-cheap"))
			kinds.Default().ToDynamic(func(r topology.Record[string, string]) string { return "shop-" + r.Value }, nil, nil)
		},
		func() {
			more := b.From(topology.NewTopic("shop-more", codecs.String(), codecs.String()))
			more.Merge(orders.Filter(func(string, string) bool { return true })).
				ProcessValues("check", func(*topology.ProcessorContext[string, string]) topology.Processor[string, string] { return nil }, audit).
				Peek(func(string, string) {}).To(textTopic("shop-checked"))
		},
		func() {
			decided := b.From(topology.NewTopic("shop-commands", codecs.String(), codecs.JSON[command]())).Decide("stock", counter())
			decided.Events.To(topology.NewTopic("shop-events", codecs.String(), codecs.JSON[int]()))
			decided.Rejections.To(topology.NewTopic("shop-rejections", codecs.String(), codecs.JSON[topology.Rejection]()))
			decided.State.Filter(func(_ string, n int) bool { return n < 3 }).
				GroupBy(func(k string, n int) (string, int) { return k[:1], n }, codecs.String(), codecs.JSON[int]()).
				Reduce("scarce", func(a, n int) int { return a + n }, func(a, n int) int { return a - n })
		},
	}
	for _, i := range order {
		parts[i]()
	}
	return build(t, b)
}

func TestDescribe(t *testing.T) {
	described := shop(t, 0, 1, 2, 3)
	golden(t, "describe/shop.txt", described.Describe())
	golden(t, "describe/shop.dot", described.DOT())
	golden(t, "describe/shop.mmd", described.Mermaid())
	golden(t, "describe/shop.json", described.JSON())
	var document map[string]any
	if err := json.Unmarshal([]byte(described.JSON()), &document); err != nil {
		t.Errorf("JSON: %v", err)
	}
	if strings.Count(described.DOT(), "{") != strings.Count(described.DOT(), "}") {
		t.Error("DOT: braces do not match")
	}
}

// TestDescribeIsStable describes what is the same but for the order of its definition.
func TestDescribeIsStable(t *testing.T) {
	want := shop(t, 0, 1, 2, 3)
	for _, order := range [][]int{{3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
		got := shop(t, order...)
		for name, texts := range map[string][2]string{
			"text": {want.Describe(), got.Describe()}, "DOT": {want.DOT(), got.DOT()},
			"Mermaid": {want.Mermaid(), got.Mermaid()}, "JSON": {want.JSON(), got.JSON()},
		} {
			if texts[0] != texts[1] {
				t.Errorf("order %v: the %s differs:\n%s\n%s", order, name, texts[0], texts[1])
			}
		}
	}
}
