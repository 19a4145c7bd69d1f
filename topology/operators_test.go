package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

type texts = topology.Stream[string, string]

func textTopic(name string) topology.Topic[string, string] {
	return topology.NewTopic(name, codecs.String(), codecs.String())
}

func countTopic(name string) topology.Topic[string, int64] {
	return topology.NewTopic(name, codecs.String(), decimalInt64())
}

// decimalInt64 writes numbers as text, so that transcripts can be read.
func decimalInt64() codecs.Codec[int64] {
	return codecs.Convert(codecs.String(),
		func(n int64) (string, error) { return fmt.Sprint(n), nil },
		func(text string) (n int64, err error) { _, err = fmt.Sscan(text, &n); return n, err })
}

// input is a script line: "key=value", "key=" for an empty value, "key" for a tombstone, "=value" for a null key; "@time"
// after a space gives the timestamp, which is the line's number otherwise.
func pipeLines(t *testing.T, d *topologytest.Driver, topic string, lines ...string) {
	t.Helper()
	for i, line := range lines {
		text, at, timed := strings.Cut(line, " @")
		timestamp := int64(i)
		if timed {
			if _, err := fmt.Sscan(at, &timestamp); err != nil {
				t.Fatal(err)
			}
		}
		name, value, given := strings.Cut(text, "=")
		key, body := []byte(name), []byte(value)
		if name == "" {
			key = nil
		}
		if !given {
			body = nil
		}
		d.PipeBytes(topic, key, body, topologytest.At(timestamp), topologytest.Header("line", fmt.Sprint(i)))
	}
}

func build(t *testing.T, b *topology.Builder) *topology.Topology {
	t.Helper()
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// TestOperators runs each operator over a few records; the transcripts hold all records that come out and all rows.
func TestOperators(t *testing.T) {
	short := func(_, value string) bool { return len(value) <= 3 }
	first := func(_, value string) string { return value[:min(1, len(value))] }
	words := []string{"a=one two", "b=three", "a", "=no key", "c=", "a=two"}
	numbers := []string{"a=5 @10", "b=30 @20", "a=7 @5", "a @6", "b=31 @30", "=9", "a=1 @7"}
	out, counts := textTopic("out"), countTopic("counts")
	for _, test := range []struct {
		name  string
		lines []string
		build func(in texts)
	}{
		{"filter", words, func(in texts) { in.Filter(short).To(out) }},
		{"filterNot", words, func(in texts) { in.FilterNot(short).To(out) }},
		{"dropTombstones", words, func(in texts) { in.DropTombstones().To(out) }},
		{"map", words, func(in texts) {
			in.Map(func(k, v string) (string, int64) { return v, int64(len(k)) }).To(counts)
		}},
		{"mapValues", words, func(in texts) { in.MapValues(func(v string) int64 { return int64(len(v)) }).To(counts) }},
		{"mapValuesWithKey", words, func(in texts) { in.MapValuesWithKey(func(k, v string) string { return k + ":" + v }).To(out) }},
		{"flatMap", words, func(in texts) {
			in.FlatMap(func(k, v string) (pairs []topology.KeyValue[string, string]) {
				for _, word := range strings.Fields(v) {
					pairs = append(pairs, topology.KeyValue[string, string]{Key: word, Value: k})
				}
				return pairs
			}).To(out)
		}},
		{"flatMapValues", words, func(in texts) { in.FlatMapValues(strings.Fields).To(out) }},
		{"flatMapValuesWithKey", words, func(in texts) {
			in.FlatMapValuesWithKey(func(k, v string) []string { return []string{k, v} }).To(out)
		}},
		{"selectKey", words, func(in texts) { in.SelectKey(first).To(out) }},
		{"peek-forEach", words, func(in texts) {
			var seen []string
			in.Peek(func(k, v string) { seen = append(seen, k+v) }).MapValues(func(string) string { return fmt.Sprint(seen) }).To(out)
			in.ForEach(func(k, v string) { seen = append(seen, "forEach") })
		}},
		{"merge", words, func(in texts) { in.Filter(short).Merge(in.MapValues(strings.ToUpper), in).To(out) }},
		{"split", words, func(in texts) {
			parts := in.Split()
			parts.Branch(short).To(textTopic("short"))
			rest := parts.Default()
			parts.Branch(func(_, v string) bool { return strings.Contains(v, " ") }).To(textTopic("spaced"))
			rest.To(textTopic("rest"))
		}},
		{"split-without-default", words, func(in texts) { in.Split().Branch(short).To(out) }},
		{"toDynamic", words, func(in texts) {
			in.ToDynamic(func(r topology.Record[string, string]) string {
				if r.NullValue {
					return "tombstones"
				}
				return map[int]string{3: "three", 0: "bad name"}[len(r.Value)]
			}, nil, nil)
		}},
		{"repartition", words, func(in texts) {
			in.SelectKey(first).Repartition("by-letter", nil, nil, topology.Partitions(4)).To(out)
		}},
		{"toTable", words, func(in texts) { in.ToTable("table").ToStream().To(out) }},
		{"toTable-rekeyed", words, func(in texts) { in.SelectKey(first).ToTable("table").ToStream().To(out) }},
		{"count", words, func(in texts) { in.GroupByKey().Count("counted").ToStream().To(counts) }},
		{"count-by", words, func(in texts) { in.GroupBy(first, codecs.String()).Count("counted").ToStream().To(counts) }},
		{"reduce", numbers, func(in texts) {
			in.GroupByKey().Reduce("longest", func(a, v string) string { return a + "+" + v }).ToStream().To(out)
		}},
		{"aggregate", numbers, func(in texts) {
			in.GroupByKey().Aggregate("sums", func() int64 { return 100 }, addText, decimalInt64()).ToStream().To(counts)
		}},
		{"table-operators", numbers, func(in texts) {
			big := in.ToTable("table").Filter(func(_, v string) bool { return len(v) > 1 })
			big.ToStream().To(textTopic("big"))
			big.MapValues(func(v string) int64 { return int64(len(v)) }).WithValue(decimalInt64()).Materialize("lengths").ToStream().To(counts)
			in.ToTable("again").FilterNot(func(_, v string) bool { return len(v) > 1 }).ToStream().To(textTopic("small"))
		}},
		{"table-count", numbers, func(in texts) {
			in.ToTable("table").GroupBy(digits, codecs.Int64(), codecs.String()).Count("counted").ToStream().
				Map(func(k, n int64) (string, int64) { return fmt.Sprint(k), n }).To(counts)
		}},
		{"table-reduce", numbers, func(in texts) {
			in.ToTable("table").GroupBy(func(k, v string) (string, string) { return "all", v }, codecs.String(), codecs.String()).
				Reduce("joined", func(a, v string) string { return a + "+" + v }, func(a, v string) string { return a + "-" + v }).ToStream().To(out)
		}},
		{"table-aggregate", numbers, func(in texts) {
			in.ToTable("table").GroupBy(digits, codecs.Int64(), codecs.String()).
				Aggregate("sums", func() int64 { return 0 },
					func(_ int64, v string, sum int64) int64 { return addText("", v, sum) },
					func(_ int64, v string, sum int64) int64 { return 2*sum - addText("", v, sum) }, decimalInt64()).
				ToStream().Map(func(k, n int64) (string, int64) { return fmt.Sprint(k), n }).To(counts)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := topology.New("app")
			test.build(b.From(textTopic("in")))
			d := topologytest.New(t, build(t, b))
			pipeLines(t, d, "in", test.lines...)
			if test.name == "toDynamic" {
				d.DeadLetters()
			}
			golden(t, "operators/"+test.name+".txt", d.Snapshot())
		})
	}
}

func addText(_, value string, sum int64) int64 {
	n := int64(0)
	_, _ = fmt.Sscan(value, &n)
	return sum + n
}

// digits groups numbers by their length.
func digits(_, value string) (int64, string) { return int64(len(value)), value }

// TestTableFromTopic reads a topic as a table.
func TestTableFromTopic(t *testing.T) {
	b := topology.New("app")
	table := b.Table(textTopic("in"), "rows")
	d := topologytest.New(t, build(t, b), topologytest.Partitions(3))
	pipeLines(t, d, "in", "a=1", "b=2", "c=3", "a=4", "b")
	rows := topologytest.Store(d, table)
	if got := fmt.Sprint(rows.All()); got != "[{a 4} {c 3}]" {
		t.Errorf("got rows %v", got)
	}
	if value, found := rows.Get("c"); value != "3" || !found {
		t.Errorf("got %q, %v", value, found)
	}
	if _, found := rows.Get("b"); found {
		t.Error("a deleted row is found")
	}
}

// bag is an aggregate that is changed in place.
type bag map[string]int

// TestInPlaceAggregates changes aggregates in place; the past must stay what it was.
func TestInPlaceAggregates(t *testing.T) {
	b := topology.New("app")
	bags := b.From(textTopic("in")).GroupByKey().Aggregate("bags", func() bag { return bag{} },
		func(_, value string, into bag) bag { into[value]++; return into }, codecs.JSON[bag]())
	// Each key's bag size, summed over all keys: right only if what is subtracted is what was added.
	total := bags.GroupBy(func(_ string, have bag) (string, int64) { return "all", sizeOf(have) }, codecs.String(), codecs.Int64()).
		Reduce("total", func(a, v int64) int64 { return a + v }, func(a, v int64) int64 { return a - v })
	d := topologytest.New(t, build(t, b), topologytest.Partitions(2), topologytest.CommitEvery(0))
	in := topologytest.Input(d, textTopic("in"))
	for i := range 30 {
		in.Pipe(fmt.Sprint("k", i%4), fmt.Sprint("v", i%7))
		if i == 11 {
			d.Commit()
		}
		if i == 20 {
			d.Crash()
		}
	}
	d.Commit()
	if sum, _ := topologytest.Store(d, total).Get("all"); sum != 30 {
		t.Errorf("the bags hold %d, want 30", sum)
	}
}

func sizeOf(b bag) (size int64) {
	for _, n := range b {
		size += int64(n)
	}
	return size
}

// TestCodecsAreKeptWhileTypesAre names no codec again where the types stay the same.
func TestCodecsAreKeptWhileTypesAre(t *testing.T) {
	b := topology.New("app")
	b.From(textTopic("in")).MapValues(strings.ToUpper).Map(func(k, v string) (string, string) { return v, k }).
		GroupByKey().Reduce("last", func(_, v string) string { return v }).
		MapValues(strings.ToLower).Materialize("lower")
	d := topologytest.New(t, build(t, b))
	pipeLines(t, d, "in", "Key=value")
	if got := d.Snapshot(); !strings.Contains(got, `store lower "VALUE"="key" at 0`) {
		t.Errorf("got %s", got)
	}
}
