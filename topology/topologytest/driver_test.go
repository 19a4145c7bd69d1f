package topologytest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// failing is a test that collects its failures.
type failing struct {
	failures []string
	cleanups []func()
}

func (f *failing) Helper()            {}
func (f *failing) Cleanup(run func()) { f.cleanups = append(f.cleanups, run) }
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
		for _, cleanup := range f.cleanups {
			cleanup()
		}
	}()
	return strings.Join(f.failures, "\n")
}

var (
	words = topology.NewTopic("words", codecs.String(), codecs.String())
	told  = topology.NewTopic("told", codecs.String(), codecs.Int64())
)

type (
	wordContext   = topology.ProcessorContext[string, int64]
	wordProcessor = topology.Processor[string, string]
)

// counted counts words: in a store, or forgetfully in the processor's own memory.
func counted(t testing.TB, forgetful bool) (*topology.Topology, *topology.KeyValueHandle[string, int64]) {
	t.Helper()
	b := topology.New("words")
	store := topology.KeyValueStore("counts", codecs.String(), codecs.Int64())
	b.From(words).ProcessValues("count", func(c *wordContext) wordProcessor {
		counts, total := store.Open(c), int64(0)
		return func(r topology.Record[string, string]) error {
			n, _ := counts.Get(r.Key)
			counts.Put(r.Key, n+1)
			total++
			if forgetful {
				n = total - 1
			}
			c.Forward(r.Key, n+1)
			return nil
		}
	}, store).To(told)
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built, store
}

// TestEveryStepBites finds a processor that remembers outside its store.
func TestEveryStepBites(t *testing.T) {
	var script []func(*topologytest.Driver)
	for i := range 6 {
		script = append(script, func(d *topologytest.Driver) { topologytest.Input(d, words).Pipe(fmt.Sprint("w", i%2), "x") })
	}
	sound, _ := counted(t, false)
	topologytest.EveryStep(t, sound, script, topologytest.CommitEvery(2))
	faulty, _ := counted(t, true)
	got := failures(func(f topologytest.TB) { topologytest.EveryStep(f, faulty, script, topologytest.CommitEvery(2)) })
	for _, fault := range []string{"a crash, disk kept", "a crash, disk lost", "an abort"} {
		if !strings.Contains(got, "topologytest: "+fault+" at moment ") {
			t.Errorf("%s was not found to change the outcome: %s", fault, got)
		}
	}
}

// TestReadCommitted shows outputs after their commit only, and once.
func TestReadCommitted(t *testing.T) {
	top, store := counted(t, false)
	d := topologytest.New(t, top, topologytest.CommitEvery(0))
	in, out, counts := topologytest.Input(d, words), topologytest.Output(d, told), topologytest.Store(d, store)
	in.Pipe("a", "x")
	in.Pipe("a", "y")
	if !out.Empty() {
		t.Error("what is not committed is seen")
	}
	if n, _ := counts.Get("a"); n != 2 {
		t.Errorf("the task has counted %d", n)
	}
	d.Crash()
	if !out.Empty() {
		t.Error("a crash has committed something")
	}
	d.Commit()
	if first, second := out.Read(), out.Read(); first.Value != 1 || second.Value != 2 || first.Offset != 3 {
		t.Errorf("got %+v and %+v; two aborted records and a marker come before", first, second)
	}
	in.Pipe("a", "z")
	d.Abort()
	in.Pipe("b", "z")
	d.CrashLosingDisk()
	d.Commit()
	d.Commit()
	if got := fmt.Sprint(out.ReadValues()); got != "[3 1]" {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprint(counts.All()); got != "[{a 3} {b 1}]" {
		t.Errorf("got rows %s", got)
	}
}

// TestCommitEvery commits after so many records.
func TestCommitEvery(t *testing.T) {
	top, _ := counted(t, false)
	d := topologytest.New(t, top, topologytest.CommitEvery(3))
	in, out := topologytest.Input(d, words), topologytest.Output(d, told)
	for i := range 8 {
		in.Pipe("a", "x")
		if got, want := len(out.ReadAll()), map[int]int{2: 3, 5: 3}[i]; got != want {
			t.Errorf("after record %d, %d records are committed, want %d", i+1, got, want)
		}
	}
}

// TestRecords carries everything that a record has, in and out.
func TestRecords(t *testing.T) {
	b := topology.New("words")
	b.From(words).To(topology.NewTopic("out", codecs.String(), codecs.String(), topology.Partitions(5)))
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := topologytest.New(t, built, topologytest.Partitions(3), topologytest.StartAt(7))
	in, out := topologytest.Input(d, words), topologytest.Output(d, words)
	copied := topologytest.Output(d, topology.NewTopic("out", codecs.String(), codecs.String()))
	in.Pipe("a", "1", topologytest.Header("h", "x"), topologytest.At(9))
	in.PipeTombstone("a")
	d.Advance(time.Second)
	in.PipeNullKey("2", topologytest.OnPartition(2))
	if d.Now() != 1007 {
		t.Errorf("it is %d", d.Now())
	}
	for i, want := range []string{
		"{a 1 false false 9 [{h [120]}] words 1 0} {a 1 false false 9 [{h [120]}] out 4 0}",
		"{a  false true 7 [] words 1 1} {a  false true 7 [] out 4 2}",
		"{ 2 true false 1007 [] words 2 0} { 2 true false 1007 [] out 2 0}",
	} {
		if got := fmt.Sprint(out.Read(), copied.Read()); got != want {
			t.Errorf("record %d: got  %s\nwant %s", i, got, want)
		}
	}
}

// TestMisuse says what is wrong with the test.
func TestMisuse(t *testing.T) {
	top, store := counted(t, false)
	with := func(use func(*topologytest.Driver)) func(topologytest.TB) {
		return func(f topologytest.TB) { use(topologytest.New(f, top)) }
	}
	table := topology.New("t").From(words).ToTable("there").Filter(func(string, string) bool { return true })
	for _, test := range []struct {
		name, want string
		run        func(topologytest.TB)
	}{
		{"no topology", "did Build return an error", func(f topologytest.TB) { topologytest.New(f, nil) }},
		{"no partitions", "Partitions must be at least 1", func(f topologytest.TB) { topologytest.New(f, top, topologytest.Partitions(0)) }},
		{"unread topic", `no operator of words reads topic "told"`, with(func(d *topologytest.Driver) { topologytest.Input(d, told) })},
		{"unread topic of bytes", `no operator of words reads topic "x"`, with(func(d *topologytest.Driver) { d.PipeBytes("x", nil, nil) })},
		{"nothing to read", "told has no further record", with(func(d *topologytest.Driver) { topologytest.Output(d, told).Read() })},
		{"time going back", "time does not go back", with(func(d *topologytest.Driver) { d.Advance(-1) })},
		{"partition too high", "words has 1 partitions, there is no 1", with(func(d *topologytest.Driver) {
			topologytest.Input(d, words).Pipe("a", "b", topologytest.OnPartition(1))
		})},
		{"table without a store", "the table is not materialized", with(func(d *topologytest.Driver) { topologytest.Store(d, table) })},
		{"another topology's store", `words has no store "other"`, with(func(d *topologytest.Driver) {
			topologytest.Store(d, topology.KeyValueStore("other", codecs.String(), codecs.String()))
		})},
		{"wrong codec", "not UTF-8", with(func(d *topologytest.Driver) {
			topologytest.Input(d, words).Pipe("a", "b")
			topologytest.Output(d, words).Read()
			topologytest.Store(d, store).Get("\xff")
		})},
		{"tombstone among values", "has a tombstone at offset 0 of partition 0", with(func(d *topologytest.Driver) {
			topologytest.Input(d, words).PipeTombstone("a")
			topologytest.Output(d, words).ReadValues()
		})},
		{"dead letters", "1 records could not be processed and the test did not ask for DeadLetters; the first: words partition 0 offset 0, value \"\\xff\": from words: decode: ", with(func(d *topologytest.Driver) {
			d.PipeBytes("words", []byte("a"), []byte{0xff})
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := failures(test.run); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want it to contain %q", got, test.want)
			}
		})
	}
}
