package torture

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/test/torture/history"
)

// outcome is what one round came to.
type outcome struct {
	kind                 string
	seed                 uint64
	report               *history.Report
	kills, faults, skips map[string]int
	longest, longestAt   time.Duration
	settled              time.Duration
	stores               int
	problems             []string
}

// TestTorture runs rounds until its time is over.
func TestTorture(t *testing.T) {
	if *forFlag == 0 {
		t.Skip("takes its time: make torture TORTURE=5m")
	}
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	kinds := []string{kindUp, kindKafka, kindEmbedded}
	if *kindFlag != "" {
		kinds = []string{*kindFlag}
	}
	over := min(*roundFlag, *forFlag/time.Duration(len(kinds))*3/5)
	deadline := time.Now().Add(*forFlag)
	var all []outcome
	for i := 0; (*roundsFlag == 0 || i < *roundsFlag) && (i < len(kinds) || time.Until(deadline) > over+15*time.Second); i++ {
		kind, seed := kinds[i%len(kinds)], seed+uint64(i)
		t.Run(fmt.Sprintf("%d-%s", i+1, kind), func(t *testing.T) {
			found := round(t, kind, seed, over)
			all = append(all, found)
			for _, problem := range found.problems {
				t.Error(problem)
			}
			if t.Failed() {
				say("%s, seed %d: FAILED: %s", kind, seed, strings.Join(found.problems, "; "))
				t.Logf("repeat with: go test ./test/torture -run '^TestTorture$' -args -torture.for=1h -torture.rounds=1 -torture.round=%s -torture.pace=%s -torture.kind=%s -torture.seed=%d\nthe schedule was\n%s",
					over, *paceFlag, kind, seed, told(newSchedule(seed, kind, over, *paceFlag)))
			}
		})
		if t.Failed() && !*onFlag {
			break
		}
	}
	summarize(t, all)
}

// round is one world from its beginning to its check.
func round(t *testing.T, kind string, seed uint64, over time.Duration) outcome {
	w := newWorld(t, kind)
	found := outcome{kind: kind, seed: seed, kills: w.kills, faults: w.faults, skips: w.skipped, report: &history.Report{}}
	say("%s, seed %d: starting", kind, seed)
	w.restore()
	if !w.awaitReady() {
		found.problems = w.problems
		w.keep(t, seed)
		return found
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c, d := newClients(ctx, w, seed), newDirect(ctx, t, w.brokers, seed)
	n, shown := nemesis{w: w}, time.Now()
	n.run(newSchedule(seed, kind, over, *paceFlag), func() {
		n.revive()
		if time.Since(shown) > 10*time.Second {
			shown = time.Now()
			writes, reads, longest := c.counts()
			say("%s, seed %d: %d s, %d kills, %d faults, %d writes, %d reads, without an answer for %s at longest", kind, seed,
				int(time.Since(n.began).Seconds()), sum(w.kills), sum(w.faults), writes, reads, longest.Round(ms))
		}
	})
	began := time.Now()
	w.restore()
	ready := w.awaitReady()
	stop()
	c.wait()
	acknowledged, err := d.wait()
	if err != nil {
		w.problem("%v", err)
	}
	found.longest, found.longestAt = c.longest, c.longestAt
	if ready {
		found.settled = time.Since(began)
		examine(t, w, c, acknowledged, &found)
	}
	for _, p := range append(w.all(), w.extra) {
		p.noteDeath()
		w.problems = append(w.problems, p.died...)
		if p.gaveUp > 0 {
			w.faults["ended for its full disk"] += p.gaveUp
		}
		if p.leftLate > 0 {
			w.faults["left with work undone"] += p.leftLate
		}
	}
	found.problems = append(slices.Concat(w.problems, c.odd[:min(len(c.odd), 10)]), found.problems...)
	if len(found.problems) > 0 {
		w.keep(t, seed)
	}
	return found
}

// revive starts what has ended by itself and is not held down by a fault.
func (n *nemesis) revive() {
	for _, p := range n.w.all() {
		if !n.busy[p] && p.noteDeath() {
			n.w.start(p)
		}
	}
}

// examine waits until everything is processed, ends all but the broker and checks what is left.
func examine(t *testing.T, w *world, c *clients, acknowledged map[history.Place]string, found *outcome) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r, err := newReader(w.brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer r.client.Close()
	if err := r.awaitLevel(ctx); err != nil {
		w.problem("%v", err)
		return
	}
	open, err := r.stayOpen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, transaction := range open {
		w.problem("left open: %s", transaction)
	}
	topics, err := r.topics(ctx, w.brokers)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(w.all(), w.extra) {
		if p != w.node {
			if err := p.terminate(); err != nil {
				w.problem("%v", err)
			}
		}
	}
	found.report = history.Check(topics, c.operations)
	found.problems = append(found.problems, found.report.Problems...)
	found.problems = append(found.problems, history.CheckAcknowledged(topics, acknowledged)...)
	stores, problems := checkStores(w.dir, topics.Changelog)
	found.stores, found.problems = stores, append(found.problems, problems...)
	if stores == 0 {
		w.problem("no store was found to compare")
	}
	say("%s, seed %d: %d commands checked, %d operations of clients on %d keys, %d stores; %d problems", w.kind, found.seed, found.report.Commands,
		found.report.Writes+found.report.Reads, found.report.Keys, stores, len(found.problems)+len(w.problems))
}

// keep saves the processes' logs, and Kafka's.
func (w *world) keep(t *testing.T, seed uint64) {
	files := map[string]string{}
	for _, p := range append(w.all(), w.extra) {
		files[p.name] = p.LogFile
	}
	if w.kafka != nil {
		files["broker"] = filepath.Join(w.kafka.DataDir(), "broker.log")
	}
	for name, file := range files {
		logs, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if *keepFlag == "" {
			t.Logf("the log of %s ends with:\n%s", name, logs[max(0, len(logs)-2000):])
			continue
		}
		if err := os.WriteFile(filepath.Join(*keepFlag, fmt.Sprintf("%s-%d-%s.log", w.kind, seed, name)), logs, 0o644); err != nil {
			t.Error(err)
		}
	}
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func add(into, counts map[string]int) {
	for name, count := range counts {
		into[name] += count
	}
}

// summarize is the report at the end.
func summarize(t *testing.T, all []outcome) {
	kills, faults, skips, commands, writes, reads, stores := map[string]int{}, map[string]int{}, map[string]int{}, 0, 0, 0, 0
	var worst outcome
	for _, o := range all {
		add(kills, o.kills)
		add(faults, o.faults)
		add(skips, o.skips)
		commands, writes, reads, stores = commands+o.report.Commands, writes+o.report.Writes, reads+o.report.Reads, stores+o.stores
		if o.longest > worst.longest {
			worst = o
		}
	}
	say("%d rounds: %d kills, %d faults, %d commands, %d writes and %d reads of clients, %d stores compared", len(all), sum(kills), sum(faults), commands, writes, reads, stores)
	say("kills: %s", listed(kills))
	say("faults: %s", listed(faults))
	say("not carried out, because something was being done to the same target: %s", listed(skips))
	say("longest time without an answered write: %s, from %s on in the round of kind %s with seed %d", worst.longest.Round(ms), worst.longestAt.Round(ms), worst.kind, worst.seed)
	if t.Failed() {
		say("FAILED")
	}
}

func listed(counts map[string]int) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf(", %s %d", name, counts[name])
	}
	if text == "" {
		return "none"
	}
	return text[2:]
}
