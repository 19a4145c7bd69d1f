//go:build !race

package budgettest

// Races tells whether the race detector is on, under which no budget is judged.
const Races = false
