package ordering

import (
	"context"
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// processor runs a topology.
type processor struct {
	name   string
	config Config
	built  *topology.Topology
	inner  *processors.Processor
}

func newProcessor(name string, built *topology.Topology, config Config) (*processor, error) {
	tuned := config.Processor
	tuned.Logger = config.named(strings.ReplaceAll(name, " ", "_"))
	inner, err := processors.New(built, tuned)
	if err != nil {
		return nil, err
	}
	return &processor{name: name, config: config, built: built, inner: inner}, nil
}

// Name implements Component.
func (p *processor) Name() string { return p.name }

// Run implements Component.
func (p *processor) Run(ctx context.Context) error {
	if err := p.config.prepare(ctx, p.built, p.config.named(p.name)); err != nil || ctx.Err() != nil {
		return err
	}
	return p.inner.Run(ctx)
}

// Ready implements Component.
func (p *processor) Ready() error { return p.inner.Status().NotReady() }

// Mount implements Component: a processor is reached through the log alone.
func (*processor) Mount(*http.ServeMux) {}

// Stopping implements Component.
func (*processor) Stopping() {}

// Close implements Component.
func (*processor) Close() error { return nil }
