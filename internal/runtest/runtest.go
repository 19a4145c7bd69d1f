// Package runtest runs what works until its context ends, for tests.
package runtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Running is something that runs.
type Running struct {
	// Stop ends it and returns its error, or says that it has not ended in time. Further calls return the same.
	Stop func() error

	ended chan struct{}
	err   error // to be read once ended is closed
}

// Start runs a function until Stop, or until the test ends, which it fails if the function has failed. Stop waits for as long
// as patience.
func Start(t testing.TB, what string, patience time.Duration, run func(ctx context.Context) error) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = run(ctx)
	}()
	r.Stop = sync.OnceValue(func() error {
		cancel()
		select {
		case <-r.ended:
			return r.err
		case <-time.After(patience):
			return fmt.Errorf("the %s does not stop", what)
		}
	})
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Errorf("running the %s: %v", what, err)
		}
	})
	return r
}

// Ended is closed when the function has returned.
func (r *Running) Ended() <-chan struct{} { return r.ended }
