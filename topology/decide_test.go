package topology_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

type command struct {
	ID  string `json:"id"`
	Key string `json:"key,omitzero"`
	Add int    `json:"add"`
}

// counter adds up; it is gone when it comes to nothing.
func counter() topology.Decider[string, command, int, int] {
	return topology.Decider[string, command, int, int]{
		ID: func(c command) string { return c.ID },
		Decide: func(state int, found bool, c command) topology.Decision[int] {
			switch {
			case !found && c.Add < 0:
				return topology.Reject[int](topology.NotFound, "there is nothing to take from")
			case c.Add == 0:
				return topology.Ignore[int]()
			case c.Add%100 == 0:
				return topology.Accept(c.Add/2, c.Add/2)
			}
			return topology.Accept(c.Add)
		},
		Evolve:  func(state int, _ bool, event int) int { return state + event },
		Deleted: func(state int) bool { return state == 0 },
	}
}

var (
	counterCommands   = topology.NewTopic("counter-commands", codecs.String(), codecs.JSON[command]())
	counterEvents     = topology.NewTopic("counter-events", codecs.String(), codecs.JSON[int]())
	counterRejections = topology.NewTopic("counter-rejections", codecs.String(), codecs.JSON[topology.Rejection]())
	counterStates     = topology.NewTopic("counter-states", codecs.String(), codecs.JSON[int]())
)

// counting is a topology of one decider.
func counting(t *testing.T, decider topology.Decider[string, command, int, int]) (*topology.Topology, topology.Table[string, int]) {
	t.Helper()
	b := topology.New("counter")
	decided := b.From(counterCommands).Decide("sums", decider)
	decided.Events.To(counterEvents)
	decided.Rejections.To(counterRejections)
	decided.State.ToStream().To(counterStates)
	return build(t, b), decided.State
}

// TestDecide holds every outcome of a command, with headers, in a transcript.
func TestDecide(t *testing.T) {
	decider := counter()
	decider.Key = func(c command) string { return c.Key }
	top, _ := counting(t, decider)
	d := topologytest.New(t, top)
	send := func(key, body string, options ...topologytest.PipeOption) {
		d.PipeBytes(counterCommands.Name(), []byte(key), []byte(body), append(options, topologytest.Header("user", "eve"))...)
	}
	send("k", `{"id":"a","key":"k","add":1}`, topologytest.At(1000))
	send("k", `{"id":"b","key":"k","add":200}`, topologytest.At(2000))
	send("k", `{"id":"a","key":"k","add":1}`, topologytest.At(3000))
	send("k", `{"id":"a","key":"k","add":7}`, topologytest.At(4000))
	send("k", `{"id":"c","key":"k","add":0}`, topologytest.At(5000))
	send("new", `{"id":"d","key":"new","add":-1}`, topologytest.At(6000))
	send("new", `{"id":"d","key":"new","add":-1}`, topologytest.At(7000))
	send("k", `{"id":"e","key":"k","add":-201}`, topologytest.At(8000))
	send("k", `{"id":"f","key":"k","add":-1}`, topologytest.At(9000))
	send("k", `{broken`)
	send("k", `{"id":"","key":"k","add":1}`)
	send("other", `{"id":"g","key":"k","add":1}`)
	d.PipeBytes(counterCommands.Name(), nil, []byte(`{"id":"h","key":"k","add":1}`))
	d.PipeBytes(counterCommands.Name(), []byte("k"), nil)
	d.DeadLetters()
	golden(t, "decide.txt", d.Snapshot())
}

// TestDecideOnTheWrongPartition refuses what would make a second state.
func TestDecideOnTheWrongPartition(t *testing.T) {
	top, state := counting(t, counter())
	d := topologytest.New(t, top, topologytest.Partitions(4))
	in := topologytest.Input(d, counterCommands)
	in.Pipe("k", command{ID: "a", Add: 1})
	home := topologytest.Output(d, counterEvents).Read().Partition
	in.Pipe("k", command{ID: "b", Add: 1}, topologytest.OnPartition((home+1)%4))
	letters := d.DeadLetters()
	if len(letters) != 1 || letters[0].Kind != "invalid" || letters[0].Partition != (home+1)%4 || letters[0].Node != "decide sums" {
		t.Errorf("got dead letters %+v", letters)
	}
	if sum, _ := topologytest.Store(d, state).Get("k"); sum != 1 {
		t.Errorf("got sum %d", sum)
	}
}

// TestDecideFingerprint tells commands of one id apart by the commander's header, whatever their bytes.
func TestDecideFingerprint(t *testing.T) {
	top, _ := counting(t, counter())
	d := topologytest.New(t, top)
	in := topologytest.Input(d, counterCommands)
	in.Pipe("k", command{ID: "a", Add: 1}, topologytest.Header(meta.Fingerprint, "12345678"))
	in.Pipe("k", command{ID: "a", Add: 2}, topologytest.Header(meta.Fingerprint, "12345678"))
	in.Pipe("k", command{ID: "a", Add: 1}, topologytest.Header(meta.Fingerprint, "another!"))
	if got := fmt.Sprint(topologytest.Output(d, counterEvents).ReadValues()); got != "[1]" {
		t.Errorf("got events %s", got)
	}
	rejection := topologytest.Output(d, counterRejections).Read()
	cause, ok := rejection.Header(meta.Cause)
	partition, offset, err := meta.ParseCause(cause)
	if !ok || err != nil || partition != 0 || offset != 2 || rejection.Value.Data.Kind != topology.IdempotencyConflict {
		t.Errorf("got %+v, caused by %d/%d, %v", rejection.Value, partition, offset, err)
	}
}

// TestDecideHorizon forgets ids in message time, before and after a sweep and a restore.
func TestDecideHorizon(t *testing.T) {
	decider := counter()
	decider.Horizon = time.Minute
	for _, between := range []struct {
		name string
		do   func(*topologytest.Driver)
	}{
		{"nothing", func(*topologytest.Driver) {}},
		{"a sweep", func(d *topologytest.Driver) { d.Advance(time.Hour) }},
		{"a crash", func(d *topologytest.Driver) { d.Crash() }},
		{"a lost disk", func(d *topologytest.Driver) { d.CrashLosingDisk() }},
	} {
		t.Run(between.name, func(t *testing.T) {
			top, state := counting(t, decider)
			d := topologytest.New(t, top)
			in := topologytest.Input(d, counterCommands)
			pipe := func(id string, add int, at int64) {
				in.Pipe("k", command{ID: id, Add: add}, topologytest.At(at))
				between.do(d)
			}
			pipe("a", 1, 0)
			pipe("a", 1, 59_999)  // within
			pipe("b", 10, 60_000) // a is forgotten now
			pipe("a", 1, 60_000)
			pipe("a", 1, 119_999) // within again
			if sum, _ := topologytest.Store(d, state).Get("k"); sum != 12 {
				t.Errorf("got sum %d, want 12", sum)
			}
		})
	}
}

// TestDecideLateCommands remembers a command whose own time is long past: its id counts from when it was decided.
func TestDecideLateCommands(t *testing.T) {
	decider := counter()
	decider.Horizon = time.Minute
	top, state := counting(t, decider)
	d := topologytest.New(t, top)
	in := topologytest.Input(d, counterCommands)
	in.Pipe("k", command{ID: "now", Add: 1}, topologytest.At(10_000_000))
	in.Pipe("k", command{ID: "late", Add: 10}, topologytest.At(1000))
	d.Advance(time.Hour)
	in.Pipe("k", command{ID: "late", Add: 10}, topologytest.At(1000))
	d.CrashLosingDisk()
	in.Pipe("k", command{ID: "late", Add: 10}, topologytest.At(2000))
	in.Pipe("k", command{ID: "late", Add: 10}, topologytest.At(10_059_999))
	if sum, _ := topologytest.Store(d, state).Get("k"); sum != 11 {
		t.Errorf("got sum %d, want 11", sum)
	}
}

// TestSeenRowsExpire says of each remembered id that it is needed until the horizon has passed since it was decided.
func TestSeenRowsExpire(t *testing.T) {
	decider := counter()
	decider.Horizon = time.Minute
	top, _ := counting(t, decider)
	spec := top.Graph().SubTopologies[0].Stores[0]
	extra := append([]byte("12345678"), 0) // decided in time
	rows := 0
	spec.Derive([]byte("k"), []byte("1"), append(extra, "id"...), 5000, func(store string, key, row []byte) {
		rows++
		if got := spec.DerivedExpiry(row); store != spec.DerivedStores[0] || string(key) != "id" || got != 65_000 {
			t.Errorf("row %q of %s expires at %d", key, store, got)
		}
	})
	if rows != 1 {
		t.Errorf("%d rows were derived", rows)
	}
}

// ledger is a state that is changed in place.
type ledger struct {
	Entries []int `json:"entries"`
}

// TestDecideInPlace mutates the state in Evolve, and wrongly in Decide too: nothing of it leaks into what was not accepted.
func TestDecideInPlace(t *testing.T) {
	b := topology.New("counter")
	decided := b.From(counterCommands).Decide("ledgers", topology.Decider[string, command, int, *ledger]{
		ID: func(c command) string { return c.ID },
		Decide: func(l *ledger, found bool, c command) topology.Decision[int] {
			if found && c.Add < 0 {
				l.Entries[0] = 99 // a bug of the user's
				return topology.Reject[int](topology.Invalid, "no")
			}
			return topology.Accept(c.Add)
		},
		Evolve: func(l *ledger, found bool, event int) *ledger {
			if !found {
				l = &ledger{}
			}
			l.Entries = append(l.Entries, event)
			return l
		},
	})
	fail := func(_ string, event int) bool {
		if event == 13 {
			panic("after the state has changed")
		}
		return true
	}
	decided.Events.Filter(fail).To(counterEvents)
	// The sum of all entries over all keys is right only if Change.Old is what was before.
	sums := decided.State.GroupBy(func(_ string, l *ledger) (string, int64) {
		sum := int64(0)
		for _, entry := range l.Entries {
			sum += int64(entry)
		}
		return "all", sum
	}, codecs.String(), codecs.Int64()).Reduce("total", func(a, v int64) int64 { return a + v }, func(a, v int64) int64 { return a - v })
	d := topologytest.New(t, build(t, b), topologytest.CommitEvery(0))
	in := topologytest.Input(d, counterCommands)
	for i, add := range []int{1, 2, -1, 13, 3, -1, 4} {
		in.Pipe("k", command{ID: fmt.Sprint(i), Add: add})
		if i%2 == 0 {
			d.Commit()
		}
	}
	d.Commit()
	state, _ := topologytest.Store(d, decided.State).Get("k")
	if got := fmt.Sprint(state.Entries); got != "[1 2 3 4]" {
		t.Errorf("got entries %s, want [1 2 3 4]", got)
	}
	if total, _ := topologytest.Store(d, sums).Get("all"); total != 10 {
		t.Errorf("got total %d, want 10", total)
	}
	if letters := d.DeadLetters(); len(letters) != 1 || letters[0].Node != "filter" {
		t.Errorf("got dead letters %+v", letters)
	}
}

// TestDeriveID holds ids that are in logs already.
func TestDeriveID(t *testing.T) {
	for _, test := range []struct {
		parent string
		index  int
		want   string
	}{
		{"a", 0, "2330a28a-5473-57d1-a395-42827248c15f"},
		{"a", -1, "a222ce5e-21ea-5974-8031-dad4386e703b"},
		{"", 7, "d2dc314f-f77e-50ff-9b9e-1f551ba3cf66"},
	} {
		if got := topology.DeriveID(test.parent, test.index); got != test.want {
			t.Errorf("DeriveID(%q, %d) = %s, want %s", test.parent, test.index, got, test.want)
		}
	}
}
