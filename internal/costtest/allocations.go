package costtest

import "testing"

// Budget is the allocations that one piece of work may cost, on average over a round of many. It is lowered when the work gets
// better, and raised only with a reason in the commit.
type Budget struct {
	Name string
	Most float64
	// Prepare returns what does one round.
	Prepare func(t testing.TB) func()
}

// Check runs each budget's work, and fails where a piece, of which there are so many a round, allocates more; not where the
// race detector is on.
func Check(t *testing.T, piece string, pieces int, budgets ...Budget) {
	for _, budget := range budgets {
		t.Run(budget.Name, func(t *testing.T) {
			round := budget.Prepare(t)
			for range 20 {
				round() // buffers grow to their size
			}
			got := testing.AllocsPerRun(40, round) / float64(pieces)
			t.Logf("%.2f allocations a %s, the budget is %g", got, piece, budget.Most)
			if got > budget.Most && !Races {
				t.Errorf("%.2f allocations a %s, the budget is %g", got, piece, budget.Most)
			}
		})
	}
}

// Benchmark has the budgets' work as benchmarks; a time is that of one piece.
func Benchmark(b *testing.B, pieces int, budgets []Budget) {
	for _, budget := range budgets {
		b.Run(budget.Name, func(b *testing.B) {
			round := budget.Prepare(b)
			round()
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += pieces {
				round()
			}
		})
	}
}
