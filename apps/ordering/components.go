package ordering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// ErrConfig is wrapped round what is wrong with a Config.
var ErrConfig = errors.New("configuration of ordering")

// The scopes that a principal needs where authorization is on.
const (
	ScopeWrite = "ordering:write"
	ScopeRead  = "ordering:read"
)

// Config is what the services are made from. Kafka.Brokers and Dir must be set.
type Config struct {
	// Kafka says how to reach the brokers.
	Kafka kafka.Config
	// Dir is where the services keep their state, each component in a directory of its own below. Services may share it.
	Dir string
	// Processor tunes the processors. Its Kafka, StateDir, Logger and Metrics are set from the fields here. Its
	// CreateTopics, Partitions and Replication hold for all components: each makes the topics it misses if it may.
	Processor processors.Config
	// Thresholds part the buckets of the query service; zero means DefaultThresholds.
	Thresholds Thresholds
	// URL is where other instances of the query service reach this one, such as "http://10.0.0.7:9002"; set, the instances
	// share the customers out, and any of them answers about all. Empty means that each instance has a full copy.
	URL string
	// Standbys is how many further instances keep a copy of what is shared out, to take over without a restore.
	Standbys int
	// Wait is how long DELETE /orders/{id} waits for the decision where the client does not say; 0 means 2 s.
	Wait time.Duration
	// Authorizer tells who asks; its principal's ID is the customer. Nil turns authorization off.
	Authorizer auth.Authorizer
	// LogCommands logs each command.
	LogCommands bool
	// Logger gets structured logs; nil discards them.
	Logger *slog.Logger
	// Metrics takes the components' metrics; nil means none.
	Metrics prometheus.Registerer
}

// Component is one part of a service. Run is called once; everything else may be called by any goroutine.
type Component interface {
	// Name names it.
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

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Kafka = c.Kafka.WithDefaults()
	if c.Thresholds == (Thresholds{}) {
		c.Thresholds = DefaultThresholds()
	}
	var wrong []error
	if err := c.Thresholds.validate(); err != nil {
		wrong = append(wrong, err)
	}
	if err := c.Kafka.Validate(); err != nil {
		wrong = append(wrong, err)
	}
	if c.Dir == "" {
		wrong = append(wrong, errors.New("no directory for state: name one that survives restarts"))
	}
	if len(wrong) > 0 {
		return c, fmt.Errorf("%w: %w", ErrConfig, errors.Join(wrong...))
	}
	p := &c.Processor
	p.Kafka, p.StateDir, p.Metrics = c.Kafka, filepath.Join(c.Dir, "processors"), c.Metrics
	p.AwaitBrokers = true
	return c, nil
}

// named returns the logger of one component.
func (c Config) named(component string) *slog.Logger { return c.Logger.With("component", component) }

// prepare makes or checks the topics of a topology, and waits for brokers that cannot be reached yet: in a fleet that
// starts together they may come last.
func (c Config) prepare(ctx context.Context, built *topology.Topology, logger *slog.Logger) error {
	if !c.Processor.CreateTopics {
		return nil // whoever needs a topic says so
	}
	config := c.Processor
	config.Logger = logger
	err := processors.EnsureTopics(ctx, built, config)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// all makes components one after the other, and closes those that are made if one cannot be.
func all(makers ...func() (Component, error)) ([]Component, error) {
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

// CommandService returns the components of the command service, in the order in which to start and stop them: the
// processor, the subscriptions and the commander, which answers from the subscriptions beside it.
func CommandService(config Config) ([]Component, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	built, _, err := Topology()
	if err != nil {
		return nil, err
	}
	var outcomes *subscribed
	return all(
		func() (Component, error) { return newProcessor("command processor", built, config) },
		func() (_ Component, err error) {
			outcomes, err = newSubscriptions(config, built)
			return outcomes, err
		},
		func() (Component, error) { return newCommander(config, built, outcomes) },
	)
}

// QueryService returns the components of the query service, in the order in which to start and stop them: the processor of
// the query application and the views that answer.
func QueryService(config Config) ([]Component, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	built, tables, err := queryTopology(config.Thresholds)
	if err != nil {
		return nil, err
	}
	return all(
		func() (Component, error) { return newProcessor("query processor", built, config) },
		func() (Component, error) { return newQueried(config, built, tables) },
	)
}
