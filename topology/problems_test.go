package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

// TestProblems builds what cannot run; the transcript holds what Build says to it.
func TestProblems(t *testing.T) {
	out := textTopic("out")
	upper := strings.ToUpper
	letter := func(_, v string) string { return v[:1] }
	for _, test := range []struct {
		name   string
		define func(b *topology.Builder)
	}{
		{"nothing defined", func(*topology.Builder) {}},
		{"source without use", func(b *topology.Builder) { b.From(textTopic("in")) }},
		{"dangling operators", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.MapValues(upper).To(out)
			in.MapValues(upper)
			in.Filter(func(string, string) bool { return true }).Peek(func(string, string) {})
			in.ToTable("rows").Filter(func(string, string) bool { return true })
			in.Split()
			in.Split().Default()
			in.Repartition("again", nil, nil)
		}},
		{"missing names", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.ToTable("")
			in.GroupByKey().Count("")
			in.GroupBy(letter, codecs.String()).Count("")
			in.Repartition("", nil, nil).To(out)
			in.Process("", func(*textContext) textProcessor { return nil }, topology.KeyValueStore("", codecs.String(), codecs.String()))
		}},
		{"bad names", func(b *topology.Builder) {
			in := b.From(textTopic("in put"))
			in.ToTable("a/b")
			in.GroupByKey().Count(strings.Repeat("long", 50))
			in.Repartition("..", nil, nil).To(textTopic(strings.Repeat("long", 100)))
			in.Process("p q", func(*textContext) textProcessor { return nil })
		}},
		{"stores defined twice", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.ToTable("rows").Materialize("rows")
			in.GroupByKey().Count("rows")
			store := topology.KeyValueStore("rows", codecs.String(), codecs.String())
			start := func(*textContext) textProcessor { return nil }
			in.Process("p", start, store)
			in.Process("q", start, store)
			in.ToTable("values-commands")
			b.From(topology.NewTopic("commands", codecs.String(), codecs.JSON[command]())).Decide("values", counter())
		}},
		{"repartitions of one name", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.Repartition("again", nil, nil).To(textTopic("one"))
			in.Repartition("again", nil, nil).To(textTopic("two"))
		}},
		{"missing codecs", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			numbers := in.Map(func(k, v string) (int, int) { return len(k), len(v) })
			numbers.ToTable("rows")
			numbers.GroupByKey().Count("counts")
			numbers.GroupByKey().Reduce("sums", func(a, v int) int { return a + v })
			numbers.Repartition("again", nil, nil).ForEach(func(int, int) {})
			numbers.ToDynamic(func(topology.Record[int, int]) string { return "out" }, nil, nil)
			in.MapValues(func(v string) int { return len(v) }).ToTable("lengths")
			in.MapValues(func(v string) int { return len(v) }).GroupByKey().Reduce("longest", func(a, v int) int { return max(a, v) })
			in.GroupByKey().Aggregate("all", func() int { return 0 }, func(_, _ string, a int) int { return a }, nil)
			table := in.ToTable("table").MapValues(func(v string) int { return len(v) })
			table.Materialize("table-lengths")
			table.GroupBy(func(_ string, v int) (int, int) { return v, v }, nil, nil).Count("by-length")
			in.ProcessValues("p", func(*textContext) textProcessor { return nil }, topology.KeyValueStore[string, string]("store", nil, nil))
		}},
		{"missing functions", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.Filter(nil).To(out)
			in.FilterNot(nil).To(out)
			in.Map[string, string](nil).To(out)
			in.MapValues[string](nil).To(out)
			in.MapValuesWithKey[string](nil).To(out)
			in.FlatMap[string, string](nil).To(out)
			in.FlatMapValues[string](nil).To(out)
			in.FlatMapValuesWithKey[string](nil).To(out)
			in.SelectKey[string](nil).To(out)
			in.Peek(nil).To(out)
			in.ForEach(nil)
			in.ToDynamic(nil, nil, nil)
			in.Split().Branch(nil).To(out)
			in.GroupBy(nil, codecs.String()).Count("counts")
			in.GroupByKey().Reduce("reduced", nil)
			in.GroupByKey().Aggregate[int64]("aggregated", nil, nil, codecs.Int64())
			table := in.ToTable("table")
			table.Filter(nil).ToStream().To(out)
			table.MapValues[string](nil).ToStream().To(out)
			table.GroupBy[string, string](nil, codecs.String(), codecs.String()).Reduce("grouped", nil, nil)
			in.Process[string, string]("p", nil).To(out)
			in.ProcessValues("q", func(*textContext) textProcessor { return nil }, nil).To(out)
		}},
		{"a decider without its parts", func(b *topology.Builder) {
			in := b.From(topology.NewTopic("commands", codecs.String(), codecs.JSON[command]()))
			in.Decide("values", topology.Decider[string, command, int, int]{Horizon: -1})
			in.SelectKey(func(_ string, c command) string { return c.ID }).Decide("rekeyed", counter())
			in.SelectKey(func(_ string, c command) int { return c.Add }).Decide("no-codec", topology.Decider[int, command, int, int]{
				ID: counter().ID, Decide: counter().Decide, Evolve: counter().Evolve,
			})
		}},
		{"a topic read twice", func(b *topology.Builder) {
			b.From(textTopic("in")).To(out)
			b.Table(textTopic("in"), "rows")
		}},
		{"a topic of two types", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.To(out)
			in.MapValues(func(v string) int64 { return 0 }).To(topology.NewTopic("out", codecs.String(), codecs.Int64()))
		}},
		{"a topic of two shapes", func(b *topology.Builder) {
			in := b.From(textTopic("in"))
			in.To(topology.NewTopic("out", codecs.String(), codecs.String(), topology.Partitions(3), topology.Forever()))
			in.To(topology.NewTopic("out", codecs.String(), codecs.String(), topology.Partitions(4)))
			in.To(topology.NewTopic("other", codecs.String(), codecs.String(), topology.Partitions(-1)))
			in.Repartition("again", nil, nil, topology.Partitions(-2)).To(out)
		}},
		{"topics that are not co-partitioned", func(b *topology.Builder) {
			a := b.From(topology.NewTopic("a", codecs.String(), codecs.String(), topology.Partitions(3)))
			c := b.From(topology.NewTopic("c", codecs.String(), codecs.String(), topology.Partitions(4)))
			a.Merge(c).To(out)
		}},
		{"topics of the application itself", func(b *topology.Builder) {
			b.From(textTopic("in")).ToTable("rows").ToStream().To(textTopic("app-rows-changelog"))
			b.From(textTopic("app-dead-letters")).To(out)
			b.From(textTopic("more")).Repartition("again", nil, nil).To(textTopic("app-again-repartition"))
		}},
		{"a topic read and written", func(b *topology.Builder) {
			b.From(textTopic("in")).MapValues(upper).To(textTopic("in"))
		}},
		{"a cycle of topics", func(b *topology.Builder) {
			b.From(textTopic("a")).To(textTopic("b"))
			b.From(textTopic("b")).To(textTopic("c"))
			b.From(textTopic("c")).Repartition("again", nil, nil).To(textTopic("a"))
			b.From(textTopic("d")).To(textTopic("a"))
		}},
		{"consumer groups of one name", func(b *topology.Builder) {
			b.From(textTopic("in")).To(textTopic("one"))
			b.From(textTopic("app-in")).To(textTopic("two"))
		}},
		{"streams of two builders", func(b *topology.Builder) {
			other := topology.New("other").From(textTopic("there"))
			b.From(textTopic("in")).Merge(other, topology.Stream[string, string]{}).To(out)
			b.From(textTopic("more")).Merge().To(out)
		}},
		{"codecs that are faulty themselves", func(b *topology.Builder) {
			b.From(topology.NewTopic[string, string]("in", nil, nil)).To(topology.NewTopic("out", codecs.String(), codecs.Convert[string, string](codecs.String(), nil, nil)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := topology.New("app")
			test.define(b)
			golden(t, "problems/"+strings.ReplaceAll(test.name, " ", "-")+".txt", problemsOf(t, b))
		})
	}
}

// problemsOf returns the problems that Build finds.
func problemsOf(t *testing.T, b *topology.Builder) string {
	t.Helper()
	built, err := b.Build()
	if err == nil || built != nil {
		t.Fatalf("got %v and no error", built)
	}
	if !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("the error does not wrap ErrInvalid: %v", err)
	}
	return strings.ReplaceAll(err.Error(), topology.ErrInvalid.Error()+": ", "") + "\n"
}

// TestApplicationNames checks the name that everything else is derived from.
func TestApplicationNames(t *testing.T) {
	for _, name := range []string{"", "my app", "..", strings.Repeat("a", 200)} {
		b := topology.New(name)
		b.From(textTopic("in")).To(textTopic("out"))
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("application %q", name)) {
			t.Errorf("application %q: got %v", name, err)
		}
	}
}

// TestOperatorsAfterBuild leaves a built topology alone.
func TestOperatorsAfterBuild(t *testing.T) {
	b := topology.New("app")
	in := b.From(textTopic("in"))
	in.To(textTopic("out"))
	parts := in.Split()
	parts.Branch(func(string, string) bool { return true }).To(textTopic("branch"))
	built := build(t, b)
	again, err := b.Build()
	if err != nil || again != built {
		t.Errorf("a second Build gave %v, %v", again, err)
	}
	before := built.Describe()

	in.MapValues(strings.ToUpper).To(textTopic("late"))
	in.Merge(in).ToTable("late").GroupBy(func(k, v string) (string, string) { return v, k }, codecs.String(), codecs.String()).Count("later")
	parts.Branch(func(string, string) bool { return false })
	parts.Default()
	in.Process("late", func(*textContext) textProcessor { return nil })
	if built.Describe() != before {
		t.Errorf("the topology has changed:\n%s", built.Describe())
	}
	golden(t, "problems/operators-after-Build.txt", problemsOf(t, b))
}
