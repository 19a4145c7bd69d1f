package commands

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
)

// Commander takes in commands over HTTP. All methods may be called by any goroutine; Handle and Mount come before the
// first request.
type Commander[K, C any] struct {
	config   Config[K, C]
	producer producer
	outcomes Outcomes         // nil: outcomes are not waited for
	follower *follow.Follower // nil unless the commander follows by itself
	kafka    *follow.Kafka    // the follower's
	ids      deriver
	memory   *memory
	metrics  *metrics
	log      *commandLog
	slots    chan struct{} // one for each request being worked on
	routes   []*compiled[K, C]

	closing sync.Once
}

// New returns a commander. It connects when the first command comes, or Run is called. Close it when done.
func New[K, C any](config Config[K, C]) (*Commander[K, C], error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	producer, err := newKafkaProducer(config.Cluster, config.ProduceTimeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	var kafka *follow.Kafka
	if config.Outcomes == nil && config.Outputs.Group != "" {
		opts, err := config.Cluster.ClientOptions()
		if err != nil {
			producer.close()
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if kafka, err = follow.NewKafka(opts); err != nil {
			producer.close()
			return nil, err
		}
	}
	c, err := assemble(config, producer, kafka)
	if err != nil {
		producer.close()
		return nil, err
	}
	c.kafka = kafka
	return c, nil
}

// assemble puts a commander together over any producer and log. A nil *follow.Kafka means no log to follow.
func assemble[K, C any, L interface {
	comparable
	follow.Log
}](config Config[K, C], producer producer, log L) (*Commander[K, C], error) {
	metrics, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, fmt.Errorf("%w: registering metrics: %w", ErrConfig, err)
	}
	c := &Commander[K, C]{
		config: config, producer: producer, outcomes: config.Outcomes, ids: newDeriver(config.Application),
		memory: newMemory(DefaultRemember), metrics: metrics, slots: make(chan struct{}, config.MaxInFlight),
		log: &commandLog{logger: config.Logger, each: config.LogCommands, clock: config.Clock},
	}
	var none L
	if config.Outcomes == nil && config.Outputs.Group != "" && log != none {
		c.follower = follow.New(follow.Config{
			Log: log, Index: follow.NewMemory(DefaultRemember), Logger: config.Logger,
			Spec: follow.Topics{
				Commands: config.Topic.Name, Group: config.Outputs.Group, Events: config.Outputs.Events,
				Rejections: config.Outputs.Rejections, DeadLetters: config.Outputs.DeadLetters, EventID: config.Outputs.EventID,
			},
		})
		c.outcomes = c.follower
	}
	if config.Authorizer == nil {
		config.Logger.Warn("authorization is off: everyone may send commands, as anonymous", "application", config.Application)
	} else {
		config.Logger.Info("authorization is on", "application", config.Application)
	}
	return c, nil
}

// Handle adds a route. It returns an error that wraps ErrConfig and lists all that is wrong with it.
func (c *Commander[K, C]) Handle(route Route[K, C]) error {
	made, err := route.compile()
	if err != nil {
		return err
	}
	c.routes = append(c.routes, made)
	return nil
}

// Mount registers the routes on a mux, beside whatever else is served there.
func (c *Commander[K, C]) Mount(mux *http.ServeMux) {
	for _, route := range c.routes {
		mux.Handle(route.Method+" "+route.Pattern, c.handler(route))
	}
}

// Handler serves the routes alone: anything else is answered with a problem, 404 or 405.
func (c *Commander[K, C]) Handler() http.Handler {
	mux := http.NewServeMux()
	c.Mount(mux)
	return Problems(mux)
}

// Run follows the outputs, where the commander does that itself, until ctx is done. A commander that has its outcomes
// from elsewhere only waits.
func (c *Commander[K, C]) Run(ctx context.Context) error {
	if c.follower == nil {
		<-ctx.Done()
		return nil
	}
	return c.follower.Run(ctx)
}

// Ready reports whether outcomes are followed as far as needed. Commands are taken before that too; only nobody learns
// at once what became of them.
func (c *Commander[K, C]) Ready() bool { return c.follower == nil || c.follower.CaughtUp() }

// Close writes what is still buffered, within half a second, and closes all connections. Stop serving first, and end
// Run.
func (c *Commander[K, C]) Close() {
	c.closing.Do(func() {
		c.producer.close()
		if c.kafka != nil {
			c.kafka.Close()
		}
	})
}

// authorize returns who sends a request, unless it has answered it.
func (c *Commander[K, C]) authorize(w http.ResponseWriter, r *http.Request, scopes []string) (Principal, bool) {
	return auth.Check(w, r, c.config.Authorizer, scopes...)
}
