package service

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands/subscriptions"
	"github.com/tidemill/tidemill/topology"
)

// Subscriptions is a component that tells clients what became of their commands.
type Subscriptions struct {
	base
	// Inner is what a commander beside it asks for outcomes.
	Inner *subscriptions.Subscriptions
}

// NewSubscriptions returns a component that tells what became of a topology's commands. own says which topics to read and what
// to tell whom; the rest of it is set from the other arguments.
func NewSubscriptions(config Config, built *topology.Topology, own subscriptions.Config) (*Subscriptions, error) {
	base, err := newBase(config, "subscriptions", built)
	if err != nil {
		return nil, err
	}
	own.Cluster, own.Dir = base.config.Kafka, filepath.Join(config.Dir, "subscriptions", built.Application())
	own.Authorizer, own.Logger, own.Registerer = config.Authorizer, base.config.Logger, config.Metrics
	inner, err := subscriptions.Open(own)
	if err != nil {
		return nil, err
	}
	return &Subscriptions{base: base, Inner: inner}, nil
}

// Field returns a function that reads something out of a record's value, and "" out of one that cannot be decoded.
func Field[V any](codec codecs.Codec[V], field func(V) string) func(value []byte) string {
	return func(value []byte) string {
		decoded, err := codec.Decode(value)
		if err != nil {
			return ""
		}
		return field(decoded)
	}
}

// Run implements Component.
func (s *Subscriptions) Run(ctx context.Context) error { return s.run(ctx, s.Inner.Run) }

// Ready implements Component.
func (s *Subscriptions) Ready() error {
	if s.Inner.Ready() {
		return nil
	}
	return fmt.Errorf("reading outcomes: %d records to go", s.Inner.Lag())
}

// Mount implements Component.
func (s *Subscriptions) Mount(mux *http.ServeMux) { s.Inner.Mount(mux) }

// Stopping implements Component.
func (s *Subscriptions) Stopping() { s.Inner.Stop() }

// Close implements Component.
func (s *Subscriptions) Close() error { return s.Inner.Close() }
