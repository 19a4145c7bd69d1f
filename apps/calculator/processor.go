package calculator

import (
	"context"
	"net/http"
	"sync"

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
	return p.inner.Run(ctx)
}

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
func (p *processor) Ready() error { return p.inner.Status().NotReady() }

// Mount implements Component: a processor is reached through the log alone.
func (*processor) Mount(*http.ServeMux) {}

// Stopping implements Component.
func (*processor) Stopping() {}

// Close implements Component.
func (*processor) Close() error { return nil }
