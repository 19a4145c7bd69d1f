package main

import (
	"context"
	"log/slog"
)

// quiet is a handler that shows warnings at level debug. The Kafka clients warn at every attempt to connect; that no
// broker answers is said once, by watch.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, quieted(level))
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, record slog.Record) error {
	record.Level = quieted(record.Level)
	return q.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attributes []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func quieted(level slog.Level) slog.Level {
	if level == slog.LevelWarn {
		return slog.LevelDebug
	}
	return level
}
