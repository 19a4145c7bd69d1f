package sim_test

import (
	"flag"
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
