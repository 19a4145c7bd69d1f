package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/settings"
)

// How the broker process is started and watched.
const (
	// lockPatience is how long to wait for the broker of a run that was killed: it closes its files and goes, mostly within
	// milliseconds. Who holds the directory for longer is not going.
	lockPatience = 15 * time.Second
	lockRetry    = 100 * time.Millisecond
	// respawnDelay is the pause before a broker process that ended by itself is started again; three quick ends are enough.
	respawnDelay = 250 * time.Millisecond
	quickEnd     = 10 * time.Second
	quickEnds    = 3
	brokerClose  = 1200 * time.Millisecond // of the five seconds within which a process leaves
)

// childCommand is the hidden command that the broker process runs.
const childCommand = "broker-child"

func newBrokerChild() *cobra.Command {
	return &cobra.Command{
		Use: childCommand, Hidden: true, Args: noArguments, Short: "Be the broker process of another tidemill",
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("component", "broker")
			return broker.RunChild(cmd.Context(), os.Stdin, os.Stdout, logger)
		},
	}
}

// brokerOptions returns the options of the embedded broker.
func brokerOptions(s settings.Settings) broker.Options {
	return broker.Options{
		Dir: filepath.Join(s.Data, "broker"), Addr: s.Broker.Addr, SyncWrites: s.Broker.SyncWrites, Partitions: int(s.Topics.Partitions),
	}
}

// embedded is the embedded broker in a process of its own. That process goes on for a moment when this one is killed, to
// finish what it is writing; and it is started again when it ends while this one runs.
type embedded struct {
	options broker.Options
	logger  *slog.Logger
	child   *broker.Child // owned by whoever runs: startEmbedded, then supervise, then stop
	failed  chan error
	ended   chan struct{} // closed when supervise has returned
}

// startEmbedded starts the broker process and waits until it answers.
func startEmbedded(ctx context.Context, options broker.Options, logger *slog.Logger) (*embedded, error) {
	e := &embedded{options: options, logger: logger, failed: make(chan error, 1), ended: make(chan struct{})}
	if err := e.spawn(ctx); err != nil {
		return nil, err
	}
	e.options.Addr = e.child.Addr() // a free port stays the same over restarts
	return e, nil
}

// addr is where the broker listens.
func (e *embedded) addr() string { return e.options.Addr }

func (e *embedded) spawn(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to start the broker process: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	for told, killed := false, 0; ; {
		e.child, err = broker.Spawn(exe, []string{childCommand}, e.options)
		if errors.Is(err, broker.ErrKilled) && killed < quickEnds {
			killed++
			e.logger.Error("the broker process was killed while it started; starting it again", "error", err)
			continue
		}
		if !errors.Is(err, broker.ErrLocked) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w\nanother tidemill runs on this data directory: stop it, or choose another directory with --data", err)
		}
		if !told {
			e.logger.Info("the data directory is in use: waiting for the broker of the last run to close it", "directory", e.options.Dir, "at most", lockPatience)
			told = true
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockRetry):
		}
	}
}

// supervise starts the broker process again whenever it ends, until ctx is done. A broker that does not stay up is told
// through failed.
func (e *embedded) supervise(ctx context.Context) {
	defer close(e.ended)
	for quick := 0; ; {
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-e.child.Done():
		}
		if quick++; time.Since(began) > quickEnd {
			quick = 1
		}
		e.logger.Error("the broker process has ended; starting it again", "error", e.child.Err())
		if quick > quickEnds {
			e.failed <- errors.New("the broker process does not stay up")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(respawnDelay):
		}
		if err := e.spawn(ctx); err != nil {
			if ctx.Err() == nil {
				e.failed <- err
			}
			return
		}
	}
}

// stop ends the broker process. supervise has been ended before.
func (e *embedded) stop() error {
	<-e.ended
	if e.child == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), brokerClose)
	defer cancel()
	return e.child.Stop(ctx)
}

func newBroker() *cobra.Command {
	defaults := settings.Default()
	cmd := &cobra.Command{
		Use: "broker", Short: "Run the embedded broker alone", Args: noArguments,
		Long: `Runs the embedded broker alone: one node that speaks Kafka's protocol, with its data in <data>/broker. Stock Kafka tools,
and the components in processes of their own, can use it. It does not replicate: it is for development, tests and
systems of one machine.`,
		Example: `  tidemill broker --broker-addr 127.0.0.1:9092 --data ./tidemill-data
  kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			unlock, err := lockData(s.Data)
			if err != nil {
				return err
			}
			defer unlock()
			logger := s.Log.Logger()
			ctx, cancel := signals(cmd.Context(), logger)
			defer cancel()
			options := brokerOptions(s)
			options.Logger = logger.With("component", "broker")
			node, err := broker.Start(ctx, options)
			if err != nil {
				return err
			}
			logger.Info("the embedded broker answers", "address", node.Addr(), "data", options.Dir)
			select {
			case <-ctx.Done():
			case <-node.Failed():
			}
			return node.Close()
		},
	}
	return withFlags(cmd, defaults, settings.GroupData, settings.GroupBroker, settings.GroupLog)
}
