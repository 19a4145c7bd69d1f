package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pollInterval is how exactly ends are seen; asking costs the broker some 50 µs.
const pollInterval = 20 * time.Millisecond

// shownInterval is how often a long run says how far it is.
const shownInterval = 10 * time.Second

// stallTimeout is after how long without progress a processor is given up.
const stallTimeout = 50 * time.Second

// runThroughput lets a processor start on a topic that is full already, and stops it when it has done all.
func runThroughput(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	if err := s.load(ctx, s.commands, min(s.keys, s.commands)); err != nil {
		return nil, err
	}
	p := s.processor(c, "throughput")
	run, values, err := s.fill(ctx, p, s.commands)
	if err != nil {
		return nil, err
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	values["cpu_s"], values["memory_mb"] = used.cpu.Seconds(), float64(used.memory)/(1<<20)
	if s.round > 0 {
		return values, nil // the first round has shown that all come to the same
	}
	sum, err := s.sum(ctx, p)
	values["events"], values["sum"] = float64(sum.events), float64(sum.hash>>12) // 52 bits, which a float64 holds exactly
	return values, err
}

// fill starts a processor and waits until it has done n commands.
func (s *session) fill(ctx context.Context, p *processor, n int) (*process, map[string]float64, error) {
	broker := s.brokerCPU()
	run, err := s.start(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	ended := false
	defer func() {
		if !ended {
			run.kill()
		}
	}()
	ready, err := run.await(ctx, "running")
	if err != nil {
		return nil, nil, err
	}
	steady, err := s.awaitDone(ctx, run, p, n)
	if err != nil {
		return nil, nil, err
	}
	ended = true
	wall := time.Since(run.began)
	return run, map[string]float64{
		"ready_s": ready.Sub(run.began).Seconds(), "wall_s": wall.Seconds(), "per_s": float64(n) / wall.Seconds(),
		"steady_per_s": steady, "broker_cpu_s": s.brokerCPU() - broker,
	}, nil
}

// awaitDone waits until n commands are done, and returns the rate over the last two thirds of them: caches and JIT compilers
// are warm by then.
func (s *session) awaitDone(ctx context.Context, run *process, p *processor, n int) (float64, error) {
	var from time.Time
	var before, last int64
	shown, moved := time.Now(), time.Now()
	for {
		done, err := s.done(ctx, p)
		if err != nil {
			return 0, err
		}
		now := time.Now()
		if from.IsZero() && done >= int64(n/3) {
			from, before = now, done
		}
		if done >= int64(n) {
			return float64(done-before) / max(now.Sub(from).Seconds(), 1e-3), nil
		}
		if err := run.running(); err != nil {
			return 0, fmt.Errorf("after %d of %d commands: %w", done, n, err)
		}
		if done > last {
			last, moved = done, now
		}
		if now.Sub(moved) > stallTimeout {
			return 0, fmt.Errorf("%d of %d commands are done, and for %s it has done none", done, n, stallTimeout)
		}
		if now.Sub(shown) > shownInterval {
			shown = now
			s.say("    %d of %d", done, n)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d commands are done: %w", done, n, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// done counts commands that are done. A broker that is busy may be late with an answer: it is asked again.
func (s *session) done(ctx context.Context, p *processor) (count int64, err error) {
	const attempts = 3
	for range attempts {
		if count, err = s.doneNow(ctx, p); err == nil || ctx.Err() != nil {
			break
		}
	}
	return count, err
}

// doneNow counts commands whose effects can be read: by what the group has committed where that is in the transaction, and by
// the events in the log otherwise.
func (s *session) doneNow(ctx context.Context, p *processor) (int64, error) {
	sum := int64(0)
	if p.exact {
		committed, err := s.admin.CommittedOffsets(ctx, p.group, false, commandsTopic)
		for _, at := range committed[commandsTopic] {
			sum += at.Offset
		}
		return sum, err
	}
	topics, err := s.admin.Topics(ctx)
	if err != nil || !slices.Contains(topics, p.events) {
		return 0, err
	}
	ends, err := s.admin.EndOffsets(ctx, p.events)
	for _, end := range ends[p.events] {
		sum += end
	}
	return sum, err
}

// brokerCPU is what the broker has used so far, in seconds; 0 where the system does not tell.
func (s *session) brokerCPU() float64 { return cpuOf(s.broker.PID()) }

// cpuOf is what a running process has used so far, in seconds.
func cpuOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const user, system, ticks = 11, 12, 100 // after the name; USER_HZ
	total := 0.0
	for _, at := range []int{user, system} {
		if at < len(fields) {
			value, _ := strconv.ParseFloat(fields[at], 64)
			total += value / ticks
		}
	}
	return total
}
