package main

import (
	"maps"
	"slices"
	"time"
)

// preset says how much is run.
type preset struct {
	works     []string
	only      []string // contenders; empty is each work's own
	rounds    int
	commands  int           // of the throughput
	keys      int           // they are over
	state     int           // records of state for restart and restore
	paced     time.Duration // of the latency
	slice     time.Duration // of each HTTP handler's turn
	largeKeys int           // of the large state
	at        []int         // the points of the curves; empty is all of each
	most      int           // keys of the curve over keys, set by the flags; the large state has another point
}

// partitions of every topic, and the JVM's and our threads are the machine's cores.
const defaultPartitions = 4

var presets = map[string]preset{
	"quick": {
		works:  []string{"throughput", "latency", "state", "get", "post"},
		only:   []string{"tidemill", "streams", "streams-tuned", "goka", "view", "bare-get", "commander", "bare-post"},
		rounds: 1, commands: 200_000, keys: 20_000, state: 100_000, paced: 4 * time.Second, slice: time.Second, largeKeys: 200_000,
	},
	"main": {
		works:  []string{"throughput", "latency", "state", "state-small", "get", "post", "large"},
		only:   []string{"tidemill", "streams", "streams-tuned", "streams-alo", "goka", "view", "bare-get", "commander", "bare-post"},
		rounds: 3, commands: 1_000_000, keys: 100_000, state: 1_000_000, paced: 6 * time.Second, slice: 2 * time.Second, largeKeys: 10_000_000,
	},
	"full": {
		works:  []string{"throughput", "latency", "state", "state-small", "get", "post", "large"},
		rounds: 5, commands: 1_000_000, keys: 100_000, state: 1_000_000, paced: 20 * time.Second, slice: 5 * time.Second, largeKeys: 10_000_000,
	},
	"growth": {
		works:  []string{"keys", "partitions", "instances", "sizes"},
		rounds: 1, largeKeys: 10_000_000,
	},
	"large": {
		works:  []string{"large"},
		rounds: 1, commands: 1_000_000, keys: 100_000, largeKeys: 10_000_000,
	},
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// scale is what results must have in common to be put together.
func (p preset) scale() map[string]int {
	return map[string]int{"commands": p.commands, "keys": p.keys, "state": p.state, "large": p.largeKeys}
}

// contendersOf returns who takes part in a work's round.
func (p preset) contendersOf(w work) []contender {
	var list []contender
	for _, name := range w.contenders {
		c := contenders[name]
		c.name = name
		if len(p.only) > 0 && !slices.Contains(p.only, name) {
			continue
		}
		list = append(list, c)
	}
	return list
}
