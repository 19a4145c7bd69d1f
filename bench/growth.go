package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What the growth's runs have in common.
const (
	growthCommands = 300_000 // measured, after the state is there
	growthKeys     = 10_000  // of all but the run over keys
	maxInstances   = 4
)

// tenfold returns 10³, 10⁴ and so on up to the most.
func tenfold(p preset) (list []int) {
	for n := 1000; n <= p.most; n *= 10 {
		list = append(list, n)
	}
	return list
}

func partitionCounts(preset) []int { return []int{1, 2, 4, 8, 16, 32, 64} }
func instanceCounts(preset) []int  { return []int{1, 2, 3, maxInstances} }
func valueSizes(preset) []int      { return []int{10, 100, 1000, 10_000, 100_000} }

// runKeys measures updates over so many keys.
func runKeys(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	return s.grow(ctx, c, growth{keys: s.point, commands: growthCommands, instances: 1})
}

// runPartitions measures updates over so many partitions.
func runPartitions(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	s.partitions = int32(s.point)
	defer func() { s.partitions = defaultPartitions }()
	return s.grow(ctx, c, growth{keys: growthKeys, commands: growthCommands, instances: 1})
}

// runInstances measures updates by so many processes.
func runInstances(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	s.partitions = 12 // which 1 to 4 instances can share evenly
	defer func() { s.partitions = defaultPartitions }()
	return s.grow(ctx, c, growth{keys: growthKeys, commands: growthCommands, instances: s.point})
}

// runSizes measures values of so many bytes, in a topology that keeps the last value of each key. Large ones are fewer.
func runSizes(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	n := max(5000, min(growthCommands, 300_000_000/s.point))
	return s.grow(ctx, c, growth{keys: min(growthKeys, n), commands: n, instances: 1, size: s.point})
}

// growth is one point of a curve.
type growth struct {
	keys, commands, instances int
	size                      int // of values, in the topology of sizes; 0 is the calculator
}

func (g growth) record(i int) *kgo.Record {
	if g.size == 0 {
		return commandOn(i, scattered(i, g.keys), i < g.keys)
	}
	value := make([]byte, g.size)
	for at := range value { // what compresses and what does not are not told apart: no contender compresses
		value[at] = byte('a' + (i+at)%26)
	}
	return &kgo.Record{Topic: commandsTopic, Key: []byte(valueID(scattered(i, g.keys))), Value: value}
}

// scattered creates keys one after another, then takes them in an order without locality.
func scattered(i, keys int) int {
	if i < keys {
		return i
	}
	const prime = 1_000_003
	return int(int64(i) * prime % int64(keys))
}

// grow lets processors build the state, then measures what a further command costs: the processors' CPU and the wall time.
func (s *session) grow(ctx context.Context, c contender, g growth) (map[string]float64, error) {
	total := g.keys + g.commands
	if err := s.loadRecords(ctx, fmt.Sprintf("growth %+v", g), total, g.record); err != nil {
		return nil, err
	}
	var runs []*process
	defer func() {
		for _, run := range runs {
			run.kill()
		}
	}()
	p := s.processor(c, "growth")
	p.sizes = g.size > 0
	dir := p.dir
	for i := range g.instances {
		p.instance, p.dir = fmt.Sprintf("bench-%d", i), fmt.Sprintf("%s-%d", dir, i)
		run, err := s.start(ctx, p)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	if _, err := s.awaitDone(ctx, runs[0], p, g.keys); err != nil {
		return nil, err
	}
	values := map[string]float64{"cores": float64(runtime.NumCPU())}
	if err := s.measureUpdates(ctx, runs, p, total, values); err != nil {
		return nil, err
	}
	for _, run := range runs {
		used, err := run.stop()
		if err != nil {
			return nil, err
		}
		values["memory_mb"] += float64(used.memory) / (1 << 20)
	}
	runs = nil
	return values, nil
}

// measureUpdates waits until total commands are done and notes what one of those that are left costs.
func (s *session) measureUpdates(ctx context.Context, runs []*process, p *processor, total int, values map[string]float64) error {
	before, err := s.done(ctx, p)
	if err != nil {
		return err
	}
	began, cpu := time.Now(), cpuOfAll(runs)
	if _, err := s.awaitDone(ctx, runs[0], p, total); err != nil {
		return err
	}
	measured := max(1, float64(int64(total)-before))
	values["wall_us"], values["cpu_us"] = time.Since(began).Seconds()*1e6/measured, (cpuOfAll(runs)-cpu)*1e6/measured
	values["measured"] = measured
	return nil
}

func cpuOfAll(runs []*process) (seconds float64) {
	for _, run := range runs {
		seconds += cpuOf(run.cmd.Process.Pid)
	}
	return seconds
}
