package topology_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

type (
	textContext   = topology.ProcessorContext[string, string]
	textProcessor = topology.Processor[string, string]
	textRecord    = topology.Record[string, string]
)

// fussy is a codec of strings that refuses "unwritable".
func fussy() codecs.Codec[string] {
	return codecs.Convert(codecs.String(), func(text string) (string, error) {
		if text == "unwritable" {
			return "", errors.New("it cannot be written")
		}
		return text, nil
	}, func(text string) (string, error) { return text, nil })
}

// TestProcess keeps the last two values of each key, with every kind of store access.
func TestProcess(t *testing.T) {
	b := topology.New("app")
	values := topology.KeyValueStore("values", codecs.String(), codecs.String())
	counts := topology.KeyValueStore("counts", codecs.String(), codecs.Int64())
	b.From(textTopic("in")).ProcessValues("remember", func(c *textContext) textProcessor {
		values, counts := values.Open(c), counts.Open(c)
		return func(r textRecord) error {
			if r.NullKey {
				return nil
			}
			if r.NullValue {
				for key := range values.Prefix(r.Key+"/", codecs.String()) {
					values.Delete(key)
				}
				counts.Delete(r.Key)
				return nil
			}
			n, _ := counts.Get(r.Key)
			counts.Put(r.Key, n+1)
			values.Put(fmt.Sprint(r.Key, "/", n), r.Value)
			var have []string
			for _, value := range values.Range(fmt.Sprint(r.Key, "/", n-1), r.Key+"0") {
				have = append(have, value)
			}
			for _, value := range values.ReverseRange(r.Key+"/", r.Key+"0") {
				have = append(have, value)
				break
			}
			c.Forward(r.Key, strings.Join(have, ","))
			return nil
		}
	}, values, counts).To(textTopic("out"))
	d := topologytest.New(t, build(t, b), topologytest.Partitions(2))
	pipeLines(t, d, "in", "a=1", "a=2", "b=x", "a=3", "=nobody", "a", "a=4", "b=y")
	golden(t, "process.txt", d.Snapshot())
	var all []string
	for _, row := range topologytest.Store(d, values).All() {
		all = append(all, row.Key)
	}
	if want := []string{"a/0", "b/0", "b/1"}; !slices.Equal(all, want) {
		t.Errorf("got rows %v, want %v", all, want)
	}
}

// TestProcessSharesAStore gives one store to two processors: one writes, the other reads.
func TestProcessSharesAStore(t *testing.T) {
	b := topology.New("app")
	prices := topology.KeyValueStore("prices", codecs.String(), codecs.String())
	b.From(textTopic("prices")).Process("keep", func(c *textContext) textProcessor {
		prices := prices.Open(c)
		return func(r textRecord) error {
			prices.Put(r.Key, r.Value)
			return nil
		}
	}, prices)
	b.From(textTopic("orders")).ProcessValues("look-up", func(c *textContext) textProcessor {
		prices := prices.Open(c)
		return func(r textRecord) error {
			price, _ := prices.Get(r.Key)
			c.Forward(r.Key, r.Value+" at "+price)
			return nil
		}
	}, prices).To(textTopic("out"))
	built := build(t, b)
	if parts := built.Graph().SubTopologies; len(parts) != 1 {
		t.Fatalf("got %d sub-topologies; those that share a store are one", len(parts))
	}
	d := topologytest.New(t, built)
	pipeLines(t, d, "prices", "tea=3")
	pipeLines(t, d, "orders", "tea=two")
	pipeLines(t, d, "prices", "tea=4")
	d.Crash()
	pipeLines(t, d, "orders", "tea=one")
	if got := fmt.Sprint(topologytest.Output(d, textTopic("out")).ReadValues()); got != "[two at 3 one at 4]" {
		t.Errorf("got %v", got)
	}
}

// TestProcessErrors sends what fails to the dead letters and undoes what was done for it.
func TestProcessErrors(t *testing.T) {
	b := topology.New("app")
	rows := topology.KeyValueStore("rows", codecs.String(), fussy())
	b.From(textTopic("in")).Process("fail", func(c *textContext) textProcessor {
		rows := rows.Open(c)
		return func(r textRecord) error {
			before, _ := rows.Get("last")
			rows.Put("last", r.Value)
			c.Forward(before, r.Value)
			switch r.Value {
			case "error":
				return errors.New("it failed")
			case "panic":
				panic("it panicked")
			}
			return nil
		}
	}, rows).To(topology.NewTopic("out", codecs.String(), fussy()))
	d := topologytest.New(t, build(t, b))
	pipeLines(t, d, "in", "a=1", "a=error", "a=2", "a=panic", "a=3", "a=unwritable", "a=4")
	for _, letter := range d.DeadLetters() {
		t.Logf("%+v", letter)
	}
	golden(t, "process-errors.txt", d.Snapshot())
}

// TestPunctuators counts records in a closure and reports in both kinds of time.
func TestPunctuators(t *testing.T) {
	b := topology.New("app")
	b.From(textTopic("in")).Process("report", func(c *textContext) textProcessor {
		n := 0
		c.Schedule(topology.StreamTime, 10*time.Millisecond, func(now int64) error {
			c.Forward("stream", fmt.Sprint(n, " records, ", c.StreamTime()-now))
			return nil
		})
		c.Schedule(topology.WallClockTime, time.Minute, func(now int64) error {
			if c.WallTime() != now {
				return errors.New("wall time is not now")
			}
			c.ForwardRecord(textRecord{Key: "wall", NullValue: n == 0, Value: fmt.Sprint(n), Timestamp: now})
			return nil
		})
		return func(textRecord) error { n++; return nil }
	}).To(textTopic("out"))
	d := topologytest.New(t, build(t, b), topologytest.StartAt(1_000_000))
	d.Advance(time.Minute)
	pipeLines(t, d, "in", "a=1 @100", "a=2 @105", "a=3 @110", "a @131", "a=5 @120", "a=6 @139", "a=7 @140")
	d.Advance(time.Minute - time.Millisecond)
	d.Advance(time.Millisecond)
	golden(t, "punctuators.txt", d.Snapshot())
}

// TestForwardRecord changes everything that a record has.
func TestForwardRecord(t *testing.T) {
	b := topology.New("app")
	b.From(textTopic("in")).Process("", func(c *textContext) textProcessor {
		return func(r textRecord) error {
			line, _ := r.Header("line")
			if r.Topic != "in" || r.Offset != 0 || r.Partition != 0 || string(line) != "0" {
				return fmt.Errorf("unexpected record %+v", r)
			}
			r.Headers = append(slices.Clone(r.Headers), codecs.Header{Key: "more", Value: []byte("here")})
			r.Timestamp, r.Value = 7, "changed"
			c.ForwardRecord(r)
			r.NullKey, r.NullValue, r.Headers = true, true, nil
			c.ForwardRecord(r)
			c.Forward("plain", "forwarded")
			return nil
		}
	}).To(textTopic("out"))
	d := topologytest.New(t, build(t, b))
	pipeLines(t, d, "in", "a=1 @100")
	golden(t, "forward-record.txt", d.Snapshot())
}

// failing is a test that collects its failures.
type failing struct{ failures []string }

func (f *failing) Helper()        {}
func (f *failing) Cleanup(func()) {}
func (f *failing) Errorf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

// failures runs a test that is meant to fail and returns its messages.
func failures(run func(topologytest.TB)) string {
	f := &failing{}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(f) {
				panic(r)
			}
		}()
		run(f)
	}()
	return strings.Join(f.failures, "\n")
}

// TestProcessorsThatDoNotStart says at the task's start what Build cannot see.
func TestProcessorsThatDoNotStart(t *testing.T) {
	store := topology.KeyValueStore("rows", codecs.String(), codecs.String())
	for _, test := range []struct {
		name, want string
		start      func(*textContext) textProcessor
	}{
		{"undeclared store", "process p: store rows: the store is not among the processor's; give it to Process", func(c *textContext) textProcessor {
			rows := store.Open(c)
			rows.Put("a", "b")
			if _, found := rows.Get("a"); found {
				t.Error("a store that is not there has rows")
			}
			return func(textRecord) error { return nil }
		}},
		{"no processor", "process p: its function returned no processor", func(*textContext) textProcessor { return nil }},
		{"bad schedule", "process p: a punctuator needs an interval of at least 1 ms and a function, got 10µs", func(c *textContext) textProcessor {
			c.Schedule(topology.StreamTime, 10*time.Microsecond, func(int64) error { return nil })
			return func(textRecord) error { return nil }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := topology.New("app")
			b.From(textTopic("in")).Process("p", test.start)
			built := build(t, b)
			got := failures(func(f topologytest.TB) { topologytest.New(f, built) })
			if !strings.HasSuffix(got, test.want) {
				t.Errorf("got %q, want it to end in %q", got, test.want)
			}
		})
	}
}
