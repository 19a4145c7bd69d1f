package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockData locks a data directory for `up` or `broker`, so that a second one is refused at once: the broker process's own
// lock outlives a run that was killed for a moment, and is waited for. The kernel lets go however the process ends; that the
// file stays is intended, for removing it would race with the next owner.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "LOCK"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if !held {
		return nil, fmt.Errorf("%w: another tidemill runs on the data directory %s: stop it, or choose another directory with --data", errRefused, dir)
	}
	return func() { _ = lock.Unlock() }, nil
}
