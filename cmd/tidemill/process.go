package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/internal/settings"
)

// The shares of the five seconds within which a process leaves.
const (
	drainTimeout = 2500 * time.Millisecond // for a processor to commit what it has stepped, or to give that up
	httpGrace    = 300 * time.Millisecond  // for requests to finish by themselves; see httpServer.stop
	leaveTimeout = 4700 * time.Millisecond // for all of it
	brokerShare  = 1000 * time.Millisecond // of that for the broker process, where there is one
	endTimeout   = 500 * time.Millisecond  // for everything but the processor to end, at least
)

// process runs components with their HTTP servers until a signal comes or one of them fails.
type process struct {
	settings settings.Settings
	logger   *slog.Logger
	registry *prometheus.Registry

	components []running
	sites      []*site
	taken      map[string]net.Listener // by flag: those that listen already, and are served later
	watch      *watch                  // nil where there is no component
	health     *health
	admin      *httpServer // nil where there is none
	background sync.WaitGroup
}

// running is a component and what ends it.
type running struct {
	service.Component
	cancel context.CancelFunc
	done   chan struct{} // closed when Run has returned
	err    error         // of Run; to be read once done is closed
}

// newProcess returns a process without components.
func newProcess(s settings.Settings, logger *slog.Logger) *process {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &process{settings: s, logger: logger, registry: registry, health: &health{}, taken: map[string]net.Listener{}}
}

// serviceConfig returns what all components of a system are made from.
func (p *process) serviceConfig(system string) (service.Config, error) {
	s := p.settings
	s.Kafka.Logger = slog.New(quiet{p.logger.Handler()}).With("component", "kafka client")
	authorizer, err := s.Auth.Authorizer()
	return service.Config{
		Kafka: s.Kafka, Dir: s.Data, Processor: s.ProcessorConfig(), Authorizer: authorizer,
		LogCommands: s.Log.Commands, Logger: p.logger, Metrics: p.metricsOf(system),
	}, err
}

// listen takes the addresses, before anything runs.
func (p *process) listen() error {
	metrics, err := newHTTPMetrics(p.registry)
	if err != nil {
		return err
	}
	if err := p.watchLog(); err != nil {
		return err
	}
	for _, s := range p.sites {
		if err := s.listen(p, metrics); err != nil {
			return errors.Join(err, p.closeServers())
		}
	}
	if p.settings.Admin.Addr == "" {
		return nil
	}
	handler := hardened(commands.Problems(adminHandler(p.health, p.registry, p.settings.Admin.Pprof)), metrics, p.logger)
	if p.admin, err = newHTTPServer(nil, "operators", p.settings.Admin.Addr, "admin-addr", handler, p.logger); err != nil {
		err = errors.Join(err, p.closeServers())
	}
	return err
}

// watchLog makes the watch of the log, where anything needs it.
func (p *process) watchLog() (err error) {
	if len(p.components) == 0 {
		return nil
	}
	if p.watch, err = newWatch(p.settings.Kafka, p.registry, p.logger); err != nil {
		return err
	}
	reached := readyFunc{"log", func() error {
		if p.watch.away() {
			return errLogAway
		}
		return nil
	}}
	p.health.parts = append(p.health.parts, reached)
	for _, s := range p.sites {
		if len(s.components) > 0 {
			s.health.parts = append(s.health.parts, reached)
		}
	}
	return nil
}

// start begins everything.
func (p *process) start(ctx context.Context) {
	if p.watch != nil {
		p.background.Go(func() { p.watch.run(ctx) })
	}
	for i := range p.components {
		component := &p.components[i]
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		component.cancel = cancel
		go func() {
			defer close(component.done)
			component.err = component.Run(own)
		}()
	}
	for _, server := range p.servers() {
		server.start()
	}
}

// wait returns when ctx is done, or with the error of what has failed.
func (p *process) wait(ctx context.Context, broker <-chan error) error {
	failed := make(chan error, len(p.components)+len(p.servers()))
	for i := range p.components {
		component := &p.components[i]
		go func() { // ends with the component, which stop waits for
			<-component.done
			failed <- failure(component.Name(), component.err)
		}()
	}
	for _, server := range p.servers() {
		p.background.Go(func() { // ends with the server, which stop ends
			if err := <-server.served; err != nil {
				failed <- fmt.Errorf("serving %s: %w", server.name, err)
			}
		})
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	case err := <-broker:
		return err
	}
}

// failure says which component has ended, and why.
func failure(name string, err error) error {
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("the %s has ended: %w", name, err)
}

// stop ends everything: the processor first, so that what it has stepped is committed while the others can still tell of
// it; then HTTP, then the rest. Requests that wait for what other instances take over have what is left of the time.
func (p *process) stop(within time.Duration) error {
	deadline := time.Now().Add(within)
	p.health.stopping.Store(true)
	for _, s := range p.sites {
		s.health.stopping.Store(true)
	}
	errs := []error{p.drain()}
	for i := range p.components {
		p.components[i].Stopping()
	}
	var servers sync.WaitGroup
	for _, server := range p.servers() {
		servers.Go(func() { server.stop(httpGrace, deadline.Add(-3*httpGrace-endTimeout)) })
	}
	servers.Wait()
	errs = append(errs, p.endAll(max(time.Until(deadline), endTimeout)))
	p.background.Wait()
	return errors.Join(errs...)
}

// drain ends the processors, side by side.
func (p *process) drain() error {
	errs := make([]error, len(p.components))
	var draining sync.WaitGroup
	for i := range p.components {
		if component := &p.components[i]; isProcessor(component) {
			draining.Go(func() { errs[i] = component.end(drainTimeout) })
		}
	}
	draining.Wait()
	return errors.Join(errs...)
}

// endAll ends and closes all components side by side.
func (p *process) endAll(timeout time.Duration) error {
	errs := make([]error, len(p.components))
	var ending sync.WaitGroup
	for i := range p.components {
		component := &p.components[i]
		ending.Go(func() {
			if errs[i] = component.end(timeout); component.ended() {
				errs[i] = errors.Join(errs[i], component.Close())
			}
		})
	}
	ending.Wait()
	return errors.Join(errs...)
}

// ended reports whether Run has returned.
func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// end ends a component and waits for it.
func (r *running) end(timeout time.Duration) error {
	r.cancel()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-r.done:
		return nil // wait has told its error, if it ended by itself
	case <-timer.C:
		return fmt.Errorf("the %s has not ended within %s", r.Name(), timeout)
	}
}

// signals returns a context that ends with SIGINT or SIGTERM. A second signal ends the process at once.
func signals(parent context.Context, logger *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
		case s := <-received:
			logger.Info("stopping: draining and committing; a second signal ends at once", "signal", s.String())
			cancel()
			<-received
			os.Exit(exitFailure)
		}
	}()
	return ctx, cancel
}

// run runs the process until a signal or a failure, and stops it. started is called once everything has begun.
func (p *process) run(ctx context.Context, broker <-chan error, started func()) error {
	if err := p.listen(); err != nil {
		return errors.Join(err, p.discard())
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	p.start(own)
	started()
	err := p.wait(ctx, broker)
	began := time.Now()
	cancel()
	within := leaveTimeout
	if broker != nil {
		within -= brokerShare
	}
	if stopErr := p.stop(within); stopErr != nil {
		return errors.Join(err, stopErr)
	}
	p.logger.Info("stopped", "took", time.Since(began).Round(time.Millisecond))
	return err
}

// discard closes what was made and not run.
func (p *process) discard() error {
	errs := []error{p.closeTaken()}
	for i := range p.components {
		errs = append(errs, p.components[i].Close())
	}
	return errors.Join(errs...)
}
