package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
)

// The memory of the large state: what the Go runtime is told to stay under, and what the process may use in all. Both shrink
// with the state where it is scaled down, but not below what a processor needs without any.
//
// The bound is held twice. The process cannot map more than that for its heap, stacks and tables: RLIMIT_DATA has the kernel
// refuse it, and the Go runtime ends then. And the resident set, which has the program's own pages besides, is watched: the
// process is killed when it grows above the bound. Neither needs privileges, as a control group does. What the bound does not
// count is the page cache, which is the system's.
const (
	largeKeysWhole = 10_000_000
	largeBound     = 512 // MB
	largeLimit     = 400 // MB, GOMEMLIMIT
	leastBound     = 208
	leastLimit     = 96
)

// runLarge fills a processor with far more state than it may have memory.
func runLarge(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	n := s.largeKeys
	if err := s.load(ctx, n, n); err != nil {
		return nil, err
	}
	bound, limit := max(leastBound, scaledDown(largeBound, n)), max(leastLimit, scaledDown(largeLimit, n))
	p := s.processor(c, "large")
	p.env = []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", limit)}
	p.memory = int64(bound) << 20
	run, values, err := s.fill(ctx, p, n)
	if err != nil {
		return nil, err
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	values["cpu_s"], values["memory_mb"] = used.cpu.Seconds(), float64(used.memory)/(1<<20)
	values["keys"], values["limit_mb"], values["bound_mb"], values["state_mb"] = float64(n), float64(limit), float64(bound), float64(size(p.dir))/(1<<20)
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
