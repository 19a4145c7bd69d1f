package sim

import (
	"math/rand/v2"
	"time"
)

// profile says how a run goes: how large it is and how much goes wrong in it. It follows from the seed.
type profile struct {
	partitions int32
	instances  int
	commands   int
	implicit   bool // the brokers have transaction.version 2
	producers  int  // one, or two that take turns
	// sessionTimeout is the group's, txTimeout the transactions', requestTimeout that of each request.
	sessionTimeout, txTimeout, requestTimeout time.Duration

	// Probabilities, for each request, marker or write.
	lost, answerLost, duplicated, slow float64
	lateMarker                         float64
	slowDisk, failingDisk              float64
	fencedAtEnd                        float64 // partitions lose their leader while a transaction ends

	// leavesOut says that coordinators leave out the markers of partitions without leader; else they wait for one.
	leavesOut bool
	// fences is how many times partitions lose their leader otherwise.
	fences int

	// faults is how many times the nemesis strikes.
	faults int
	// long says that days pass in between, and changelogs are compacted.
	long bool
	// calm says that after everything there is one crash more, from which the rest must recover quickly.
	calm calm
}

// calm is the crash after everything else.
type calm int

const (
	calmNone     calm = iota
	calmRestart       // the instance is started again at once
	calmDeparted      // it stays away; the others take over
	calmDrained       // it is stopped on purpose
	calms
)

// The clock of message time and what depends on it.
const (
	epoch            = 1_700_000_000_000 // milliseconds since the epoch, when the run begins
	horizon          = 24 * time.Hour    // of the commands' ids
	compactionLag    = horizon
	tombstoneAge     = 7 * 24 * time.Hour
	recoveryDeadline = 6 * time.Second
)

func newProfile(r *rand.Rand) *profile {
	p := &profile{
		partitions: 1 + r.Int32N(3), instances: 1 + r.IntN(3), commands: 20 + r.IntN(60), implicit: r.IntN(4) != 0, producers: 1 + min(1, r.IntN(4)),
		sessionTimeout: 10 * time.Second, txTimeout: 10 * time.Second, requestTimeout: 2 * time.Second,
		faults: r.IntN(8), long: r.IntN(8) == 0, calm: calm(r.IntN(int(calms))),
	}
	if r.IntN(2) == 0 {
		p.txTimeout = 40 * time.Second
	}
	if r.IntN(4) != 0 { // a bad network
		p.lost, p.answerLost, p.duplicated, p.slow = rate(r, 0.03), rate(r, 0.05), rate(r, 0.05), rate(r, 0.05)
	}
	p.lateMarker = rate(r, 0.3)
	if r.IntN(3) != 0 {
		p.fencedAtEnd, p.fences, p.leavesOut = rate(r, 0.1), r.IntN(5), r.IntN(4) != 0
	}
	if r.IntN(3) == 0 {
		p.slowDisk, p.failingDisk = rate(r, 0.3), rate(r, 0.03)
	}
	return p
}

// rate returns a probability up to most, often none.
func rate(r *rand.Rand, most float64) float64 {
	if r.IntN(3) == 0 {
		return 0
	}
	return r.Float64() * most
}
