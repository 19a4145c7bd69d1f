//go:build race

package costtest

// Races tells whether the race detector is on. It drops pooled objects at random, so that counts of allocations are moot, and takes
// up several times the memory: what is counted still runs, and is not judged.
const Races = true
