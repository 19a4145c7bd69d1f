package service

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/topology"
)

// produceTimeout bounds the wait for the log's acknowledgement. A client is better served by a 503 that it can act on
// than by silence.
const produceTimeout = 3 * time.Second

// Commander is a component that takes in commands.
type Commander[K, C any] struct {
	base
	inner *commands.Commander[K, C]
}

// NewCommander returns a component that writes a topology's commands to a topic as the routes say. own says where outcomes and
// views are asked for; the rest of it is set from the other arguments.
func NewCommander[K, C any](config Config, built *topology.Topology, topic topology.Topic[K, C], own commands.Config[K, C], routes ...commands.Route[K, C]) (*Commander[K, C], error) {
	base, err := newBase(config, "commander", built)
	if err != nil {
		return nil, err
	}
	own.Application = built.Application()
	own.Topic = commands.Topic[K, C]{Name: topic.Name(), Key: topic.Key(), Value: topic.Value()}
	own.Cluster, own.ProduceTimeout, own.Wait, own.Authorizer = base.config.Kafka, produceTimeout, config.Wait, config.Authorizer
	own.Logger, own.LogCommands, own.Registerer = base.config.Logger, config.LogCommands, config.Metrics
	inner, err := commands.New(own)
	if err != nil {
		return nil, err
	}
	for _, route := range routes {
		err = errors.Join(err, inner.Handle(route))
	}
	if err != nil {
		inner.Close()
		return nil, err
	}
	return &Commander[K, C]{base: base, inner: inner}, nil
}

// Run implements Component.
func (c *Commander[K, C]) Run(ctx context.Context) error { return c.run(ctx, c.inner.Run) }

// Ready implements Component.
func (c *Commander[K, C]) Ready() error {
	if c.inner.Ready() {
		return nil
	}
	return errors.New("reading outcomes up to now")
}

// Mount implements Component.
func (c *Commander[K, C]) Mount(mux *http.ServeMux) { c.inner.Mount(mux) }

// Close implements Component.
func (c *Commander[K, C]) Close() error {
	c.inner.Close()
	return nil
}
