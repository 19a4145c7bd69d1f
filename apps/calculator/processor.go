package calculator

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/apps/service"
)

// processor is the command processor, which shows what it does.
type processor struct {
	*service.Processor
	config service.Config
}

// Processor returns the command processor: it validates commands and writes events, exactly once.
func Processor(config Config) (service.Component, error) {
	calculator, _, err := Topology()
	if err != nil {
		return nil, err
	}
	own := config.Named("command_processor")
	inner, err := service.NewProcessor(own, "processor", calculator)
	if err != nil {
		return nil, err
	}
	return &processor{inner, own}, nil
}

// Run implements service.Component.
func (p *processor) Run(ctx context.Context) error {
	if !p.config.LogCommands {
		return p.Processor.Run(ctx)
	}
	return service.Together(ctx, p.Processor.Run, func(ctx context.Context) error {
		processorTrail(p.config, p.assigned).run(ctx, p.Inner.Ready())
		return nil
	})
}

// assigned tells whether this instance processes a partition.
func (p *processor) assigned(partition int32) bool {
	for _, group := range p.Inner.Status().Groups {
		if slices.Contains(group.Partitions, partition) {
			return true
		}
	}
	return false
}
