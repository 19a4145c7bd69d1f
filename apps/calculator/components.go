package calculator

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
var ErrConfig = errors.New("configuration of the calculator")

// Config is what the components are made from. Kafka.Brokers and Dir must be set.
type Config struct {
	// Kafka says how to reach the brokers.
	Kafka kafka.Config
	// Dir is where the components keep their state, each in a directory of its own below.
	Dir string
	// Processor tunes the command processor. Its Kafka, StateDir, Logger and Metrics are set from the fields here. Its
	// CreateTopics, Partitions and Replication hold for all components: each makes the topics it misses if it may.
	Processor processors.Config
	// ViewURL and SubscriptionsURL are where a commander finds the others when they run elsewhere, such as
	// "http://view:3032". Without the first it does not wait for the view; without the second it follows outcomes itself.
	ViewURL, SubscriptionsURL string
	// URL is where other instances of the view reach this one, such as "http://10.0.0.7:3032"; set, the instances
	// share the partitions out, and any of them answers about all values. Empty means that each has a full copy.
	URL string
	// Standbys is how many further instances keep a copy of each partition then, to take over without a restore.
	Standbys int
	// Wait is how long POST and PUT wait for the outcome and the view; 0 means 2 s.
	Wait time.Duration
	// Authorizer tells who asks; nil turns authorization off.
	Authorizer auth.Authorizer
	// LogCommands logs the way of each command, found again by its id, through the processor and the view.
	LogCommands bool
	// Logger gets structured logs; nil discards them.
	Logger *slog.Logger
	// Metrics takes the components' metrics; nil means none.
	Metrics prometheus.Registerer
}

// Component is one part of the calculator. Run is called once; everything else may be called by any goroutine.
type Component interface {
	// Name names it: commander, processor, view, subscriptions or history.
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
	var wrong []error
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
	p.Kafka, p.StateDir, p.Logger, p.Metrics = c.Kafka, filepath.Join(c.Dir, "processors"), c.Logger.With("component", "command_processor"), c.Metrics
	p.AwaitBrokers = true
	return c, nil
}

// named returns the logger of one component.
func (c Config) named(component string) *slog.Logger { return c.Logger.With("component", component) }

// prepare makes or checks the topics, and waits for brokers that cannot be reached yet: in a fleet that starts together
// they may come last.
func (c Config) prepare(ctx context.Context, logger *slog.Logger) error {
	calculator, _, err := Topology()
	if err != nil {
		return err
	}
	return c.ensure(ctx, calculator, logger)
}

// ensure is prepare for the topics of one application.
func (c Config) ensure(ctx context.Context, application *topology.Topology, logger *slog.Logger) error {
	if !c.Processor.CreateTopics {
		return nil // whoever needs a topic says so
	}
	config := c.Processor
	config.Logger = logger
	err := processors.EnsureTopics(ctx, application, config)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Everything returns the five components for one process, in the order in which to start them: the commander answers from
// the subscriptions and the view beside it. Stop them in that order too.
func Everything(config Config) ([]Component, error) {
	var made []Component
	fail := func(err error) ([]Component, error) {
		for _, component := range made {
			err = errors.Join(err, component.Close())
		}
		return nil, err
	}
	processor, err := Processor(config)
	if err != nil {
		return fail(err)
	}
	made = append(made, processor)
	view, err := newView(config)
	if err != nil {
		return fail(err)
	}
	made = append(made, view)
	history, err := History(config)
	if err != nil {
		return fail(err)
	}
	made = append(made, history)
	subscriptions, err := newSubscriptions(config)
	if err != nil {
		return fail(err)
	}
	made = append(made, subscriptions)
	commander, err := newCommander(config, view, subscriptions)
	if err != nil {
		return fail(err)
	}
	return append(made, commander), nil
}
