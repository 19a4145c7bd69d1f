package costtest

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// ProcessorTime is what this process has used. On a machine shared with others it says more than the time that has passed.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Ratio returns how many times what a piece of work takes another one takes: the median of rounds in which they take turns. Each
// returns the processor time that it took.
func Ratio(one, other func() time.Duration) float64 {
	ratios := make([]float64, 9)
	for round := range ratios {
		runtime.GC()
		took := one()
		runtime.GC()
		ratios[round] = other().Seconds() / took.Seconds()
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}
