package service

import (
	"context"

	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// Processor is a component that runs a topology. It is reached through the log alone.
type Processor struct {
	base
	// Inner is the processor itself.
	Inner *processors.Processor
}

// NewProcessor returns a component that runs a topology.
func NewProcessor(config Config, name string, built *topology.Topology) (*Processor, error) {
	base, err := newBase(config, name, built)
	if err != nil {
		return nil, err
	}
	inner, err := processors.New(built, base.config.Processor)
	if err != nil {
		return nil, err
	}
	return &Processor{base: base, Inner: inner}, nil
}

// Run implements Component.
func (p *Processor) Run(ctx context.Context) error { return p.run(ctx, p.Inner.Run) }

// Ready implements Component.
func (p *Processor) Ready() error { return p.Inner.Status().NotReady() }
