package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The memory of the large state, in MB: what the process may use in all, and what the Go runtime is told to stay under. The
// first part is for a processor with little state, the second grows with the state up to that of largeKeysWhole.
//
// The bound is held by a watch: a process whose resident set grows above it is killed, and the run fails. How much can slip in
// between two looks is bounded by the kernel (RLIMIT_DATA): it refuses the process a quarter more than the bound for its heap,
// stacks and tables, and the Go runtime ends then. That counts addresses, also those whose memory was given back, hence the
// quarter. Neither needs privileges, as a control group does. The page cache, which is the system's, is not counted.
const (
	largeKeysWhole        = 10_000_000
	leastBound, moreBound = 256, 256
	leastLimit, moreLimit = 160, 240
)

// longID makes the values' ids so long that ten million of them are 2 GB of state.
var longID = "-" + strings.Repeat("0123456789", 11)

// runLarge fills a processor with far more state than it may have memory, then measures what updates cost there.
func runLarge(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	n := s.largeKeys
	record := func(i int) *kgo.Record { return commandFor(i, valueID(scattered(i, n))+longID, i < n) }
	if err := s.loadRecords(ctx, fmt.Sprintf("%d with long ids", n), n+growthCommands, record); err != nil {
		return nil, err
	}
	bound, limit := leastBound+scaledDown(moreBound, n), leastLimit+scaledDown(moreLimit, n)
	p := s.processor(c, "large")
	p.env = []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", limit)}
	p.memory = int64(bound) << 20
	run, values, err := s.fill(ctx, p, n)
	if err != nil {
		return nil, err
	}
	values["keys"], values["limit_mb"], values["bound_mb"] = float64(n), float64(limit), float64(bound)
	if err := s.measureUpdates(ctx, []*process{run}, p, n+growthCommands, values); err != nil {
		run.kill()
		return nil, err
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	values["cpu_s"], values["memory_mb"] = used.cpu.Seconds(), float64(used.memory)/(1<<20)
	values["state_mb"] = float64(size(p.dir)) / (1 << 20)
	return values, nil
}

func scaledDown(megabytes, keys int) int { return min(megabytes, megabytes*keys/largeKeysWhole) }

// size of all files under a directory, in bytes.
func size(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a file that is being removed counts nothing
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
