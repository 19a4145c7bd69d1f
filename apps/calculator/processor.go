package calculator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// processor is the command processor.
type processor struct {
	config Config
	inner  *processors.Processor
}

// Processor returns the command processor: it validates commands and writes events, exactly once.
func Processor(config Config) (Component, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	calculator, _, err := Topology()
	if err != nil {
		return nil, err
	}
	inner, err := processors.New(calculator, config.Processor)
	if err != nil {
		return nil, err
	}
	return &processor{config: config, inner: inner}, nil
}

// Name implements Component.
func (*processor) Name() string { return "processor" }

// Run implements Component.
func (p *processor) Run(ctx context.Context) error {
	logger := p.config.named("command_processor")
	if err := p.config.prepare(ctx, logger); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	if p.config.LogCommands {
		wait.Go(func() { processorTrail(p.config, logger, p.assigned).run(ctx, p.inner.Ready()) })
	}
	for {
		err := p.inner.Run(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, kafka.ErrUnreachable) {
			return err
		}
		logger.Warn("no broker answers any more; starting again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartDelay):
		}
	}
}

// restartDelay is between two starts of the processor where the brokers went away between the first look at them and the second.
const restartDelay = time.Second

// assigned tells whether this instance processes a partition.
func (p *processor) assigned(partition int32) bool {
	for _, group := range p.inner.Status().Groups {
		for _, own := range group.Partitions {
			if own == partition {
				return true
			}
		}
	}
	return false
}

// Ready implements Component.
func (p *processor) Ready() error { return ready(p.inner) }

// ready returns nil once a processor is restored and working, else what it still waits for.
func ready(p *processors.Processor) error {
	for _, group := range p.Status().Groups {
		if group.Running {
			continue
		}
		var parts []string
		for _, restore := range group.Restores {
			parts = append(parts, fmt.Sprintf("%s/%d: %d of %d", restore.Store, restore.Partition, restore.Done, restore.Total))
		}
		text := "joining group " + group.Group
		if len(parts) > 0 {
			text = "restoring " + strings.Join(parts, ", ")
		}
		if group.LastError != nil {
			return fmt.Errorf("%s; the last session ended with: %w", text, group.LastError)
		}
		return fmt.Errorf("%s", text)
	}
	return nil
}

// Mount implements Component: a processor is reached through the log alone.
func (*processor) Mount(*http.ServeMux) {}

// Stopping implements Component.
func (*processor) Stopping() {}

// Close implements Component.
func (*processor) Close() error { return nil }
