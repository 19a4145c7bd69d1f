//go:build race

package codecs_test

// raceEnabled tells that the race detector, which drops pooled objects at random, makes counts of allocations moot.
const raceEnabled = true
