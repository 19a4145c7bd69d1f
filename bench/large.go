package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
)

// The memory of the large state: what the Go runtime is told to stay under, and what the process may use in all. Both shrink
// with the state where it is scaled down, but not below what a processor needs without any.
const (
	largeKeysWhole = 10_000_000
	largeLimit     = 400 // MB, GOMEMLIMIT
	leastLimit     = 96
)

// runLarge fills a processor with far more state than it may have memory.
func runLarge(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	n := s.largeKeys
	if err := s.load(ctx, n, n); err != nil {
		return nil, err
	}
	limit := max(leastLimit, min(largeLimit, largeLimit*n/largeKeysWhole))
	p := s.processor(c, "large")
	p.env = []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", limit)}
	run, values, err := s.fill(ctx, p, n)
	if err != nil {
		return nil, err
	}
	used, err := run.stop()
	values["cpu_s"], values["memory_mb"] = used.cpu.Seconds(), float64(used.memory)/(1<<20)
	values["keys"], values["limit_mb"], values["state_mb"] = float64(n), float64(limit), float64(size(p.dir))/(1<<20)
	return values, err
}

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
