// Package service is what the services of the reference systems are made of: components that start, say when they are ready,
// answer HTTP requests, drain and stop. Processors, commanders, subscriptions and views are ready to be used as components; what
// is asked of them and what they answer is the application's.
package service

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// Component is one part of a service. Run is called once; everything else may be called by any goroutine.
type Component interface {
	// Name names it, in the singular and without an article.
	Name() string
	// Run works until ctx is done, then finishes what it is doing and returns nil; or it returns why it cannot go on.
	Run(ctx context.Context) error
	// Ready returns nil once the component is restored and working, else what it still waits for.
	Ready() error
	// Mount adds the component's HTTP resources to a mux. A processor has none.
	Mount(mux *http.ServeMux)
	// Stopping ends what would hold up a graceful shutdown of the HTTP server, such as streams.
	Stopping()
	// Close frees what Run does not. End Run first, or do not begin it.
	Close() error
}

// Waiter is a component whose requests may wait, at a stop, for what other instances do now.
type Waiter interface {
	// Waiting is how many of its requests are worth waiting for, once Stopping has returned and no more are taken.
	Waiting() int
}

// All makes components one after the other, and closes those that are made if one cannot be.
func All(makers ...func() (Component, error)) ([]Component, error) {
	var made []Component
	for _, maker := range makers {
		component, err := maker()
		if err != nil {
			for _, before := range made {
				err = errors.Join(err, before.Close())
			}
			return nil, err
		}
		made = append(made, component)
	}
	return made, nil
}

// Together runs functions side by side until one of them returns, then ends the others by their context. It returns when all
// have, with what went wrong.
func Together(ctx context.Context, runs ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var wait sync.WaitGroup
	for i, run := range runs {
		wait.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// base is what all components have, and what most have not: resources, streams and something to close.
type base struct {
	name   string
	config Config
	built  *topology.Topology // whose topics the component needs
}

func newBase(config Config, name string, built *topology.Topology) (base, error) {
	config, err := config.withDefaults()
	return base{name: name, config: config, built: built}, err
}

// Name implements Component.
func (b *base) Name() string { return b.name }

// Mount implements Component.
func (*base) Mount(*http.ServeMux) {}

// Stopping implements Component.
func (*base) Stopping() {}

// Close implements Component.
func (*base) Close() error { return nil }

// run makes or checks the topics before it runs a function. It waits for brokers that cannot be reached yet: in a fleet that
// starts together they may come last.
func (b *base) run(ctx context.Context, run func(ctx context.Context) error) error {
	if b.config.Processor.CreateTopics { // else whoever needs a topic says so
		err := processors.EnsureTopics(ctx, b.built, b.config.Processor)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return run(ctx)
}
