package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// logger hands the node's lines to slog, and acts on what the node only tells its
// log: that it could not save its state, and that it could not write. After the
// latter it would go on and acknowledge what is not on the disk, so it is held
// where it stands, before it has answered, and whoever owns the broker ends it.
type logger struct {
	to *slog.Logger // may be nil

	mu      sync.Mutex
	saves   []string // guarded by mu, as all that follows
	failure error    // of the first write that failed
	failed  chan struct{}
	serving bool // clients can reach the node
}

func newLogger(to *slog.Logger) *logger { return &logger{to: to, failed: make(chan struct{})} }

// Logf is called by the node.
func (l *logger) Logf(level kfake.LogLevel, format string, args ...any) {
	var to slog.Level
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
		if strings.HasPrefix(format, "persist to disk") || strings.HasPrefix(format, "save session state") {
			l.mu.Lock()
			l.saves = append(l.saves, fmt.Sprintf(format, args...))
			l.mu.Unlock()
		}
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
		if strings.HasPrefix(format, "persist ") {
			l.unwritten(fmt.Errorf("%w: %w", ErrWrite, lastError(args)))
			return
		}
	case kfake.LogLevelInfo:
		to = slog.LevelDebug // one line a request: too much for info
	default:
		return
	}
	if ctx := context.Background(); l.to != nil && l.to.Enabled(ctx, to) {
		l.to.Log(ctx, to, fmt.Sprintf(format, args...))
	}
}

// lastError returns the error among the arguments of a line.
func lastError(args []any) error {
	for _, arg := range slices.Backward(args) {
		if err, ok := arg.(error); ok {
			return err
		}
	}
	return errors.New(fmt.Sprint(args...))
}

// unwritten notes a failed write. While the broker serves it does not return:
// the node does one request at a time, so this one is never answered, nor is any
// other.
func (l *logger) unwritten(err error) {
	l.mu.Lock()
	if l.failure == nil {
		l.failure = err
		close(l.failed)
		if l.to != nil {
			l.to.Error("the embedded broker cannot write and ends", "error", err)
		}
	}
	serving := l.serving
	l.mu.Unlock()
	if serving {
		select {}
	}
}

// serve says whether clients can reach the node, and returns why it cannot write.
func (l *logger) serve(serving bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serving = serving
	return l.failure
}

// saveError returns why the state was not saved by Close.
func (l *logger) saveError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.saves) == 0 {
		return nil
	}
	return fmt.Errorf("closing the embedded broker: %s", strings.Join(l.saves, "; "))
}
