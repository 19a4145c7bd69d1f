package processors_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/processors"
)

// scalingSession is the session time-out of the tests that wait for one.
const scalingSession = 2000 // milliseconds

// TestScaling: while commands come in, instances join, one drains, one is killed. Nothing is lost or doubled, and the pauses
// are short.
func TestScaling(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		w := newWorkload(app, seed, 200)
		instance := func(name string) *child {
			c := newChild(t, b, app, name)
			c.options.SessionMillis = scalingSession
			return c
		}
		one, two, three := instance("one"), instance("two"), instance("three")
		three.options.Drain = true
		one.start()
		events := follow(t, b, app+"-events")
		f := feed(t, b, w, 1000)
		awaitMore(t, events, 200)

		// pause tells the longest time that a partition is without an event while something happens and for a second after it.
		pause := func(name string, bound time.Duration, happen func()) {
			t.Helper()
			since := time.Now()
			happen()
			time.Sleep(time.Second)
			awaitMore(t, events, events.count())
			gap := events.gap(since)
			t.Logf("%s: longest pause %s", name, gap.Round(time.Millisecond))
			if gap > bound {
				t.Errorf("%s: a pause of %s, want at most %s", name, gap, bound)
			}
		}
		// A second or two on a quiet machine; these bounds leave room for a busy one.
		pause("second joins", 20*time.Second, two.start)
		pause("third joins", 20*time.Second, three.start)
		if two.ready.Partitions == 0 || three.ready.Partitions == 0 {
			t.Errorf("partitions of the second and the third instance: %d and %d", two.ready.Partitions, three.ready.Partitions)
		}
		pause("third is drained", 20*time.Second, three.stop)
		// What the killed one had is taken over when its session has timed out.
		pause("second is killed", scalingSession*time.Millisecond+20*time.Second, func() {
			two.kill()
			time.Sleep(scalingSession * time.Millisecond)
		})
		f.end()
		w.await(t, b, 30*time.Second)
		w.compareState(t, b)
		one.stop()
	})
}

// TestTwoInOneProcess runs two instances in this process, of which one comes and goes.
func TestTwoInOneProcess(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		w := newWorkload(app, seed, 50)
		built := mustLedger(t, app)
		instance := func(name string) (*processors.Processor, processors.Config) {
			c := config(t, b)
			c.InstanceID = name
			p, err := processors.New(built, c)
			if err != nil {
				t.Fatal(err)
			}
			return p, c
		}
		one, _ := instance("one")
		stopOne := run(t, one)
		b.Produce(t, w.add(500)...)
		for range 2 {
			two, c := instance("two")
			stopTwo := run(t, two)
			b.Produce(t, w.add(500)...)
			stopTwo()
			if err := processors.RemoveInstance(context.Background(), built, c, "two"); err != nil {
				t.Fatal(err)
			}
			b.Produce(t, w.add(500)...)
		}
		w.await(t, b, 30*time.Second)
		stopOne()
		w.compareState(t, b)
	})
}

// TestOnStop: an instance that leaves at its stop hands its partitions over long before the session time-out, one that keeps
// them is a member still; and one that leaves and comes back goes on where it was.
func TestOnStop(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		w := newWorkload(app, seed, 50)
		built := mustLedger(t, app)
		admin, err := log.NewAdmin(log.Config{Brokers: b.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		dir := t.TempDir()
		instance := func(name string, onStop processors.OnStop) (stop func()) {
			c := config(t, b)
			c.StateDir, c.InstanceID, c.OnStop = filepath.Join(dir, name), name, onStop
			c.SessionTimeout, c.RebalanceTimeout = 40*time.Second, 40*time.Second
			c.HeartbeatInterval = 200 * time.Millisecond
			p, err := processors.New(built, c)
			if err != nil {
				t.Fatal(err)
			}
			return run(t, p)
		}
		member := func(name string) bool {
			_, members, err := admin.GroupMembers(t.Context(), built.Graph().SubTopologies[0].Group)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == name })
		}
		one := instance("one", processors.LeaveGroup)
		b.Produce(t, w.add(500)...)
		for range 2 {
			two := instance("two", processors.LeaveGroup)
			b.Produce(t, w.add(500)...)
			two()
			began := time.Now()
			b.Produce(t, w.add(500)...)
			w.await(t, b, 20*time.Second)
			t.Logf("what the other had is processed %v after it has stopped", time.Since(began).Round(time.Millisecond))
			if member("two") {
				t.Error("the instance that has left is a member still")
			}
		}
		one()
		kept := instance("kept", processors.KeepPartitions)
		b.Produce(t, w.add(500)...)
		w.await(t, b, 20*time.Second)
		kept()
		if !member("kept") || member("one") {
			t.Error("of the two that have stopped, the one that keeps its partitions is the member")
		}
		w.compareState(t, b)
	})
}

// TestZombie: an instance is stopped past its session time-out in the middle of its work, while another takes over, and then
// continued. Nothing it wrote becomes visible, and it joins again.
func TestZombie(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		w := newWorkload(app, seed, 200)
		zombie, other := newChild(t, b, app, "zombie"), newChild(t, b, app, "other")
		zombie.options.SessionMillis, other.options.SessionMillis = scalingSession, scalingSession
		other.options.Drain = true
		zombie.start()
		events := follow(t, b, app+"-events")
		f := feed(t, b, w, 3000)
		for range 2 {
			awaitMore(t, events, events.count()+500)
			if !other.running() {
				other.start()
			}
			awaitMore(t, events, events.count()+500)
			zombie.signal(syscall.SIGSTOP)
			before := time.Now()
			// The other one has all partitions once it has processed what the zombie holds up: no key is without an event.
			time.Sleep(scalingSession*time.Millisecond + 500*time.Millisecond)
			awaitMore(t, events, events.count()+1000)
			zombie.signal(syscall.SIGCONT)
			t.Logf("stopped for %s", time.Since(before).Round(time.Millisecond))
		}
		f.end()
		w.await(t, b, 60*time.Second)
		w.compareState(t, b)
		// It is a member again, with clean state: the rest is its own.
		other.stop()
		b.Produce(t, w.add(200)...)
		w.await(t, b, 30*time.Second)
		w.compareState(t, b)
		zombie.stop()
	})
}
