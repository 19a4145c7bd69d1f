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
	timeout    time.Duration // of one run
	run        func(ctx context.Context, s *session, c contender) (map[string]float64, error)
}

var works = map[string]work{
	"throughput": {
		title:      "throughput",
		contenders: []string{"tidemill", "streams", "streams-tuned", "goka", "streams-alo", "streams-alo-tuned", "tidemill-alo"},
		timeout:    3 * time.Minute, run: runThroughput,
	},
	"latency": {
		title: "latency", contenders: []string{"tidemill", "streams", "streams-tuned"}, timeout: 2 * time.Minute, run: runLatency,
	},
	"state": {
		title: "restart and restore", contenders: []string{"tidemill", "streams", "streams-tuned"}, timeout: 5 * time.Minute,
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
	"get":   {title: "view GET", contenders: []string{"view", "bare-get"}, timeout: time.Minute, run: runGet},
	"post":  {title: "command POST", contenders: []string{"commander", "bare-post"}, timeout: time.Minute, run: runPost},
	"large": {title: "large state in little memory", contenders: []string{"tidemill"}, timeout: 20 * time.Minute, run: runLarge},
}

func workNames() []string { return slices.Sorted(maps.Keys(works)) }
