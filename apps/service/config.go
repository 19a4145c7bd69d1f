package service

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// ErrConfig is wrapped round what is wrong with a Config.
var ErrConfig = errors.New("configuration of a service")

// Config is what every component is made from. Kafka.Brokers and Dir must be set.
type Config struct {
	// Kafka says how to reach the brokers.
	Kafka kafka.Config
	// Dir is where components keep their state, each in a directory of its own below. Services may share it.
	Dir string
	// Processor tunes the processors. Its Kafka, StateDir, Logger and Metrics are set from the fields here. Its
	// CreateTopics, Partitions and Replication hold for all components: each makes the topics it misses if it may.
	Processor processors.Config
	// URL is where other instances of the views reach this one, such as "http://10.0.0.7:9002"; set, the instances share
	// the partitions out, and any of them answers about all. Empty means that each has a full copy.
	URL string
	// Standbys is how many further instances keep a copy of each partition then, to take over without a restore.
	Standbys int
	// Wait is how long a command's answer waits for its outcome where neither client nor route says; 0 means 2 s.
	Wait time.Duration
	// Authorizer tells who asks; nil turns authorization off.
	Authorizer auth.Authorizer
	// LogCommands logs each command.
	LogCommands bool
	// Logger gets structured logs; nil discards them.
	Logger *slog.Logger
	// Metrics takes the components' metrics; nil means none.
	Metrics prometheus.Registerer
}

// Validate returns an error that wraps ErrConfig and names all that is wrong.
func (c Config) Validate() error {
	err := c.Kafka.Validate()
	if c.Dir == "" {
		err = errors.Join(err, errors.New("no directory for state: name one that survives restarts"))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// Named returns the configuration of one component: what it logs bears its name.
func (c Config) Named(component string) Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("component", component)
	return c
}

func (c Config) withDefaults() (Config, error) {
	c.Kafka = c.Kafka.WithDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &c.Processor
	p.Kafka, p.StateDir, p.Logger, p.Metrics = c.Kafka, filepath.Join(c.Dir, "processors"), c.Logger, c.Metrics
	p.AwaitBrokers = true
	return c, c.Validate()
}
