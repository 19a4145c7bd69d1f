package main

import (
	"context"
	"maps"
	"slices"
	"time"
)

// work is one thing that is measured, the same way for all its contenders.
type work struct {
	title      string
	contenders []string
	once       []string             // those that are measured in the first round only
	single     bool                 // one round is enough: the last
	timeout    time.Duration        // of one run
	points     func(p preset) []int // of a curve: one run for each; nil is one run
	run        func(ctx context.Context, s *session, c contender) (map[string]float64, error)
}

var works = map[string]work{
	"throughput": {
		title:      "throughput",
		contenders: []string{"tidemill", "streams", "streams-tuned", "goka", "streams-alo", "streams-alo-tuned", "tidemill-alo"},
		once:       []string{"streams-alo", "streams-alo-tuned", "tidemill-alo"}, // no goal compares with them
		timeout:    3 * time.Minute, run: runThroughput,
	},
	"latency": {
		title: "latency", contenders: []string{"tidemill", "streams", "streams-tuned"}, timeout: 2 * time.Minute, run: runLatency,
	},
	"state": {
		title: "restart and restore", contenders: []string{"tidemill", "streams", "streams-tuned"}, once: []string{"streams-tuned"}, timeout: 5 * time.Minute,
		run: func(ctx context.Context, s *session, c contender) (map[string]float64, error) {
			return runState(ctx, s, c, s.state)
		},
	},
	"state-small": {
		title: "restart with a tenth of the state", contenders: []string{"tidemill"}, timeout: 3 * time.Minute,
		run: func(ctx context.Context, s *session, c contender) (map[string]float64, error) {
			return runState(ctx, s, c, s.state/10)
		},
	},
	"get":  {title: "view GET", contenders: []string{"view", "bare-get"}, timeout: time.Minute, run: runGet},
	"post": {title: "command POST", contenders: []string{"commander", "bare-post"}, timeout: time.Minute, run: runPost},
	"keys": {
		title: "cost over keys", contenders: []string{"tidemill", "streams"}, timeout: 20 * time.Minute, points: tenfold, run: runKeys,
	},
	"partitions": {
		title: "cost over partitions", contenders: []string{"tidemill", "streams"}, timeout: 3 * time.Minute, points: partitionCounts, run: runPartitions,
	},
	"instances": {
		title: "cost over instances", contenders: []string{"tidemill"}, timeout: 3 * time.Minute, points: instanceCounts, run: runInstances,
	},
	"sizes": {
		title: "cost over value size", contenders: []string{"tidemill"}, timeout: 3 * time.Minute, points: valueSizes, run: runSizes,
	},
	"large": {title: "large state in little memory", contenders: []string{"tidemill"}, single: true, timeout: 20 * time.Minute, run: runLarge},
}

// pointsOf are the points of a curve; a work that is none has one.
func (w work) pointsOf(p preset) []int {
	if w.points == nil {
		return []int{0}
	}
	list := w.points(p)
	if len(p.at) > 0 {
		list = slices.DeleteFunc(list, func(n int) bool { return !slices.Contains(p.at, n) })
	}
	return list
}

func workNames() []string { return slices.Sorted(maps.Keys(works)) }
