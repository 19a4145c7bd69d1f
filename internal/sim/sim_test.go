package sim_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/sim"
)

var (
	seedFlag  = flag.Int64("sim.seed", -1, "run this seed alone and tell its story")
	seedsFlag = flag.Int("sim.seeds", 300, "how many seeds to run")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed")
	storyFlag = flag.Int("sim.story", 60, "how many lines of a failing run's story are shown")
)

// kept are seeds on which a bug was found, in the product or put into it (mutantlist_test.go), by what it was.
var kept = map[uint64]string{
	2:    "two members take over the same departed instance",
	52:   "a late end of a transaction under an epoch that stays as it is",
	3076: "a restore that waits for a transaction under its own id",
	3496: "two members take over the same departed instance",
	5149: "a commit that is mended by a process that dies meanwhile",
	9793: "a process that has the id between another one's mending and its initialisation",
	8786: "a start that is tried again by another client",
	8306: "a commit that is mended by a process that dies meanwhile",
}

// TestKept runs the seeds that have found something.
func TestKept(t *testing.T) {
	workload := newAccounts(t)
	for seed, why := range kept {
		if result := sim.Run(seed, workload, *storyFlag); result.Err != nil {
			t.Errorf("%s (again?): %s", why, result)
		}
	}
}

// TestDeterministic shows that a seed is a run: its story is the same again, to the microsecond.
func TestDeterministic(t *testing.T) {
	for seed := range uint64(10) {
		first, again := sim.Run(seed, newAccounts(t), 1_000_000), sim.Run(seed, newAccounts(t), 1_000_000)
		if !slices.Equal(first.Story, again.Story) || len(first.Story) < 10 {
			t.Errorf("seed %d has %d lines of story, then %d others", seed, len(first.Story), len(again.Story))
		}
	}
}

// TestSeeds runs many seeds. A failing one is named: run it alone, and keep it in kept.
func TestSeeds(t *testing.T) {
	workload := newAccounts(t)
	if *seedFlag >= 0 {
		result := sim.Run(uint64(*seedFlag), workload, 1_000_000)
		for _, line := range result.Story {
			t.Log(line)
		}
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		return
	}
	began, transactions, faults, elapsed := time.Now(), 0, 0, time.Duration(0)
	for seed := *firstFlag; seed < *firstFlag+uint64(*seedsFlag); seed++ {
		result := sim.Run(seed, workload, *storyFlag)
		if result.Err != nil {
			t.Fatalf("%s\nreproduce it: go test ./internal/sim -sim.seed=%d", result, seed)
		}
		transactions, faults, elapsed = transactions+result.Transactions, faults+result.Faults, elapsed+result.Elapsed
	}
	t.Logf("%d seeds in %s: %d transactions, %d faults, %s of virtual time", *seedsFlag, time.Since(began).Round(time.Millisecond), transactions, faults, elapsed.Round(time.Second))
}
