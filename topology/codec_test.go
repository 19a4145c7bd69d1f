package topology_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

type greeting struct {
	Text string `json:"text"`
}

// TestVersionedCodecs writes type and version into headers of records, and in front of the value in stores and changes.
func TestVersionedCodecs(t *testing.T) {
	versioned := codecs.VersionedJSON[greeting]("greeting", 3)
	greetings := topology.NewTopic("greetings", codecs.String(), versioned)
	b := topology.New("app")
	in := b.From(greetings)
	in.To(topology.NewTopic("copies", codecs.String(), versioned))
	in.Repartition("again", nil, nil).To(topology.NewTopic("again", codecs.String(), versioned))
	table := in.ToTable("rows")
	table.GroupBy(func(k string, g greeting) (string, greeting) { return g.Text, g }, codecs.String(), versioned).Count("counts")
	d := topologytest.New(t, build(t, b))
	topologytest.Input(d, greetings).Pipe("a", greeting{Text: "hello"}, topologytest.At(1), topologytest.Header("user", "eve"))
	topologytest.Input(d, greetings).PipeTombstone("b", topologytest.At(2))
	golden(t, "versioned.txt", d.Snapshot())
	if value, found := topologytest.Store(d, table).Get("a"); value.Text != "hello" || !found {
		t.Errorf("got %+v, %v", value, found)
	}
	if record := topologytest.Output(d, greetings).Read(); record.Value.Text != "hello" {
		t.Errorf("got %+v", record)
	}
}

// TestWithKey names the codec of keys that an operator has made.
func TestWithKey(t *testing.T) {
	b := topology.New("app")
	counted := b.From(textTopic("in")).SelectKey(func(_, v string) int64 { return int64(len(v)) }).WithKey(codecs.OrderedInt64()).GroupByKey().Count("lengths")
	byParity := counted.WithKey(codecs.Int64()).MapValues(func(n int64) int64 { return n * 10 }).Materialize("tens")
	d := topologytest.New(t, build(t, b))
	pipeLines(t, d, "in", "a=x", "b=yy", "c=z")
	if got := fmt.Sprint(topologytest.Store(d, counted).All(), topologytest.Store(d, byParity).All()); got != "[{1 2} {2 1}] [{1 20} {2 10}]" {
		t.Errorf("got %s", got)
	}
}

// TestDescriptions tells a view how to read a table.
func TestDescriptions(t *testing.T) {
	b := topology.New("app")
	table := b.From(textTopic("in")).ToTable("rows")
	if what, ok := table.Describe(); !ok || what.Store != "rows" || what.Changelog != "app-rows-changelog" || what.Key == nil || what.Value == nil {
		t.Errorf("got %+v, %v", what, ok)
	}
	if _, ok := table.MapValues(strings.ToUpper).Describe(); ok {
		t.Error("a table without a store is described")
	}
	topic := textTopic("in")
	if topic.Name() != "in" || topic.Key() == nil || topic.Value() == nil {
		t.Errorf("got %+v", topic)
	}
}

// TestStoreOrder reads a store both ways, with bounds and prefixes at the end of what bytes can say.
func TestStoreOrder(t *testing.T) {
	b := topology.New("app")
	store := topology.KeyValueStore("rows", codecs.Bytes(), codecs.String())
	var all, reversed, prefixed []string
	b.From(topology.NewTopic("in", codecs.Bytes(), codecs.String())).Process("p", func(c *textContext) topology.Processor[[]byte, string] {
		rows := store.Open(c)
		return func(r topology.Record[[]byte, string]) error {
			rows.Put(r.Key, r.Value)
			all, reversed, prefixed = nil, nil, nil
			for _, value := range rows.All() {
				all = append(all, value)
			}
			for _, value := range rows.ReverseAll() {
				reversed = append(reversed, value)
			}
			for _, value := range rows.Prefix([]byte{0xff}, codecs.Bytes()) {
				prefixed = append(prefixed, value)
			}
			rows.Delete([]byte("not there"))
			return nil
		}
	}, store)
	d := topologytest.New(t, build(t, b))
	for i, key := range []string{"b", "\xff\xff", "a", "\xff", "a\x00"} {
		d.PipeBytes("in", []byte(key), fmt.Append(nil, i))
	}
	if got := strings.Join(all, ""); got != "24031" {
		t.Errorf("got %s", got)
	}
	slices.Reverse(reversed)
	if !slices.Equal(all, reversed) || strings.Join(prefixed, "") != "31" {
		t.Errorf("got %v, reversed %v, with the prefix %v", all, reversed, prefixed)
	}
}

// TestUnreadableRow ends the task: it is not the record's fault, and another codec has to be deployed.
func TestUnreadableRow(t *testing.T) {
	for _, test := range []struct {
		name string
		read func(kv *topology.KeyValues[string, string])
	}{
		{"get", func(kv *topology.KeyValues[string, string]) { kv.Get("k") }},
		{"all", func(kv *topology.KeyValues[string, string]) {
			for range kv.All() {
				t.Error("a row that cannot be decoded is shown")
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := topology.New("app")
			unreadable := codecs.Convert(codecs.String(), func(text string) (string, error) { return text, nil },
				func(string) (string, error) { return "", fmt.Errorf("not this one") })
			store := topology.KeyValueStore("rows", codecs.String(), unreadable)
			b.From(textTopic("in")).Process("p", func(c *textContext) textProcessor {
				kv := store.Open(c)
				return func(r textRecord) error {
					if r.Value == "write" {
						kv.Put("k", "v")
						return nil
					}
					test.read(kv)
					return nil
				}
			}, store)
			built := build(t, b)
			got := failures(func(f topologytest.TB) {
				d := topologytest.New(f, built)
				d.PipeBytes("in", []byte("a"), []byte("write"))
				d.Crash() // the decoded value is forgotten
				d.PipeBytes("in", []byte("a"), []byte("read"))
			})
			if !strings.Contains(got, "process p: store rows: decoding the value of a row") || !strings.Contains(got, "not this one") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestDecision tells what a decider has said, for those who test one alone.
func TestDecision(t *testing.T) {
	if got := fmt.Sprint(topology.Accept(1, 2, 3).Events(), topology.Ignore[int]().Events()); got != "[1 2 3] []" {
		t.Errorf("got events %s", got)
	}
	kind, reason, rejected := topology.Reject[int](topology.Invalid, "no").Rejected()
	if kind != topology.Invalid || reason != "no" || !rejected {
		t.Errorf("got %s, %s, %v", kind, reason, rejected)
	}
	if _, _, rejected := topology.Accept(1).Rejected(); rejected {
		t.Error("what is accepted is rejected")
	}
}
