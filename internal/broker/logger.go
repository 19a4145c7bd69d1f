package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// logger hands the node's lines to slog, and keeps what it only tells its log:
// that it could not save its state.
type logger struct {
	to *slog.Logger // may be nil

	mu    sync.Mutex
	saves []string // guarded by mu
}

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
	case kfake.LogLevelInfo:
		to = slog.LevelDebug // one line a request: too much for info
	default:
		return
	}
	if ctx := context.Background(); l.to != nil && l.to.Enabled(ctx, to) {
		l.to.Log(ctx, to, fmt.Sprintf(format, args...))
	}
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
