package processors_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
)

// TestKill9 kills the processor ten times in the middle of 20,000 commands. It is running again having read the tail of its
// changelogs only, and each command has had its outcome once. How long that took is told; the benchmark judges it, on a quiet machine.
func TestKill9(t *testing.T) {
	const commands, kills = 20_000, 10
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorkload(app, seed, 500)
		c := newChild(t, b, app, "one")
		c.start()
		events := follow(t, b, app+"-events")
		f := feed(t, b, w, 5000)
		var restarts []time.Duration
		var restored, atMost []int64
		written := func() (n int64) {
			for number := range int32(ledgerPartitions) {
				n += b.End(t, app+"-accounts-changelog", number, false)
			}
			return n
		}
		from := int64(0)
		for range kills {
			time.Sleep(time.Duration(50+random.IntN(200)) * time.Millisecond)
			c.kill()
			before, at := events.count(), written()
			c.start()
			// What was written before the last start is on the disk; what was written since may be aborted.
			atMost, from = append(atMost, written()-from), at
			restarts, restored = append(restarts, c.took), append(restored, c.ready.Restored)
			awaitMore(t, events, before)
		}
		f.end()
		b.Produce(t, w.add(max(0, commands-len(w.commands)))...)
		w.await(t, b, 60*time.Second)
		w.compareState(t, b)
		c.kill()
		c.start()
		t.Logf("restarts took %v, median %v; changelog offsets read %v, %d when idle", restarts, median(restarts), restored, c.ready.Restored)
		// What stands behind the checkpoint is the marker of its transaction.
		if n := c.ready.Restored; n > 2*ledgerPartitions {
			t.Errorf("%d changelog offsets were read although nothing was written since", n)
		}
		for i, n := range restored {
			if n > atMost[i] {
				t.Errorf("restart %d read %d changelog offsets: a tail has at most %d", i, n, atMost[i])
			}
		}
		c.stop()
	})
}

// awaitMore waits until more events can be read than before.
func awaitMore(t *testing.T, events *arrivals, before int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); events.count() <= before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is processed any more")
		}
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
