// Package subscriptions tells clients what became of their commands: the status of one command, and streams of
// outcomes by command or by aggregate, as server-sent events that go on after a reconnect without gap or repeat.
//
// The component follows the topics of commands, events, rejections and dead letters into a store of its own, together
// with the positions it has reached, so that a restart goes on where it stood. It keeps a horizon of message time; what
// is older is forgotten. The store is a copy of the log: one that cannot be trusted is emptied and filled anew.
//
//	GET /commands/{id}                    the status; ?token= asks for the command at one position; Prefer: wait=N
//	GET /commands/{id}/outcomes           the stream of one command's outcomes
//	GET /outcomes?aggregate={key}         the stream of one aggregate's outcomes
//	GET /outcomes?tag={tag}               the stream of the outcomes of all commands with one tag, where the application has tags
//
// A stream's events come in the order of the commands in the log. Each carries the outcome of one command and is sent
// once the outcome is final, also where it left no record: so nothing that belongs before it can come later, and its id,
// the command's partition and offset, is all that a reconnect needs, at any instance of the component.
package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/store"
)

// ErrConfig is wrapped round everything that is wrong with a Config.
var ErrConfig = errors.New("configuration of the subscriptions")

// The defaults of Config.
const (
	DefaultHorizon      = 24 * time.Hour
	DefaultHeartbeat    = 15 * time.Second
	DefaultWriteTimeout = 10 * time.Second
	DefaultMaxStreams   = 10000
	DefaultMaxWait      = 30 * time.Second
)

// recentLimit is of how many commands the outcomes are kept in memory, beside the store.
const recentLimit = 1 << 14

// Config makes a Subscriptions. Cluster, Commands, Group and Dir must be set.
type Config struct {
	// Cluster is how to reach the log.
	Cluster log.Config
	// Commands is the topic of the commands, Group the consumer group by which the processor reads it.
	Commands string
	Group    string
	// Events, Rejections and DeadLetters are the topics that the processor writes outcomes to.
	Events      []string
	Rejections  []string
	DeadLetters []string
	// Dir is the directory of the store, made if need be; no other component may use it. Empty keeps everything in
	// memory, to be read anew after a restart.
	Dir string

	// EventID reads an event's own id out of its value; nil leaves ids out.
	EventID func(topic string, value []byte) string
	// CommandID reads the id of a command that another producer wrote, without our header; nil leaves it without one.
	CommandID func(value []byte) string
	// Tag reads a second name out of a command's value, such as whose order it is about, for a stream of the outcomes of all
	// commands with it; nil means that commands have none. A store that was filled under another function keeps its tags.
	Tag func(value []byte) string
	// AggregateKey turns the text that names an aggregate in a URL into the bytes of its key; nil takes the text as it is.
	AggregateKey func(text string) ([]byte, error)

	// Horizon is how long outcomes are kept, in message time.
	Horizon time.Duration
	// Heartbeat is how often an idle stream is written to.
	Heartbeat time.Duration
	// WriteTimeout is how long one write to a stream may take; a reader that needs half of it is too slow and is
	// disconnected. It resumes by Last-Event-ID.
	WriteTimeout time.Duration
	// MaxStreams bounds the open streams; more are answered 503.
	MaxStreams int
	// MaxWait bounds what a client may ask to wait for.
	MaxWait time.Duration

	// Authorizer tells who asks; nil means that everyone may, as anonymous.
	Authorizer auth.Authorizer
	// Scopes are what a principal must have been granted; they count only if there is an Authorizer.
	Scopes []string
	// Visible, if set, is asked whether a principal may see an outcome; one that may not finds nothing. Who sent the
	// command is in Outcome.Principal. If nil and there is an Authorizer, everyone that it lets in sees everything.
	Visible func(principal auth.Principal, found outcome.Outcome) bool

	// Clock bounds how far commands from the future can move the horizon; nil means time.Now.
	Clock func() time.Time
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Logger hears of trouble; nil means slog.Default.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	var wrong []error
	missing := func(field, name string) {
		if field == "" {
			wrong = append(wrong, fmt.Errorf("%s is empty", name))
		}
	}
	missing(c.Commands, "Commands")
	missing(c.Group, "Group")
	if len(c.Events)+len(c.Rejections) == 0 {
		wrong = append(wrong, errors.New("there is no topic of events or rejections to follow"))
	}
	defaults := []struct {
		field *time.Duration
		value time.Duration
		name  string
	}{
		{&c.Horizon, DefaultHorizon, "Horizon"},
		{&c.Heartbeat, DefaultHeartbeat, "Heartbeat"},
		{&c.WriteTimeout, DefaultWriteTimeout, "WriteTimeout"},
		{&c.MaxWait, DefaultMaxWait, "MaxWait"},
	}
	for _, d := range defaults {
		if *d.field == 0 {
			*d.field = d.value
		}
		if *d.field < 0 {
			wrong = append(wrong, fmt.Errorf("%s is %s; it must be positive", d.name, *d.field))
		}
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.MaxStreams < 0 {
		wrong = append(wrong, fmt.Errorf("MaxStreams is %d; it must be positive", c.MaxStreams))
	}
	if c.AggregateKey == nil {
		c.AggregateKey = func(text string) ([]byte, error) { return []byte(text), nil }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if len(wrong) > 0 {
		return c, fmt.Errorf("%w: %w", ErrConfig, errors.Join(wrong...))
	}
	return c, nil
}

// Subscriptions is the component. All methods may be called by any goroutine.
type Subscriptions struct {
	config   Config
	engine   store.Engine
	index    *index
	follower *follow.Follower
	kafka    *follow.Kafka // nil in tests
	metrics  *metrics
	streams  chan struct{} // one for each open stream

	stopOnce sync.Once
	stopped  chan struct{} // closed when streams are to end
}

// Open opens the store and returns a component that follows the log once Run is called. Close it when done.
func Open(config Config) (*Subscriptions, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	opts, err := config.Cluster.ClientOptions()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	engine, err := openStore(config.Dir, config.Logger)
	if err != nil {
		return nil, fmt.Errorf("opening the store of outcomes: %w", err)
	}
	kafka, err := follow.NewKafka(opts)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	s, err := assemble(config, engine, kafka, follow.Timing{})
	if err != nil {
		kafka.Close()
		return nil, errors.Join(err, engine.Close())
	}
	s.kafka = kafka
	return s, nil
}

// openStore opens the directory's store, anew if it is corrupt: the log has everything.
func openStore(dir string, logger *slog.Logger) (store.Engine, error) {
	if dir == "" {
		return store.NewMemory(), nil
	}
	engine, err := store.OpenLevelDB(dir, store.Options{})
	if !errors.Is(err, store.ErrCorrupt) {
		return engine, err
	}
	logger.Warn("the store of outcomes is corrupt and is filled anew from the log", "dir", dir, "error", err)
	if err := store.Destroy(dir); err != nil {
		return nil, err
	}
	return store.OpenLevelDB(dir, store.Options{})
}

func assemble(config Config, engine store.Engine, source follow.Log, timing follow.Timing) (*Subscriptions, error) {
	metrics, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, fmt.Errorf("%w: registering metrics: %w", ErrConfig, err)
	}
	s := &Subscriptions{
		config: config, engine: engine, metrics: metrics,
		index:   newIndex(engine, config.Horizon, config.Clock, config.CommandID == nil),
		streams: make(chan struct{}, config.MaxStreams), stopped: make(chan struct{}),
	}
	s.follower = follow.New(follow.Config{
		Log: source, Index: follow.WithRecent(s.index, recentLimit), Timing: timing, Logger: config.Logger, Applied: s.applied,
		Spec: follow.Topics{
			Commands: config.Commands, Group: config.Group, Events: config.Events, Rejections: config.Rejections,
			DeadLetters: config.DeadLetters, EventID: config.EventID, CommandID: config.CommandID, Tag: config.Tag,
		},
	})
	if config.Authorizer == nil {
		config.Logger.Warn("authorization is off: everyone may read outcomes", "commands", config.Commands)
	}
	return s, nil
}

// Run follows the log until ctx is done, over broken connections and restarted brokers. Then it ends the streams. It
// returns an error only if the store fails.
func (s *Subscriptions) Run(ctx context.Context) error {
	defer s.Stop()
	return s.follower.Run(ctx)
}

// Check asks the log, once, whether all topics exist. The error names those that do not.
func (s *Subscriptions) Check(ctx context.Context) error { return s.follower.Check(ctx) }

// Ready reports whether everything that was in the log at the start has been read.
func (s *Subscriptions) Ready() bool { return s.follower.CaughtUp() }

// Lag returns how many records lay ahead at the start and are not read yet.
func (s *Subscriptions) Lag() int64 { return s.follower.Lag() }

// Stop ends all streams with a comment that says so, and refuses new ones. A server that is shut down gracefully waits
// for its connections: call Stop first.
func (s *Subscriptions) Stop() { s.stopOnce.Do(func() { close(s.stopped) }) }

// Close closes the store. End Run first.
func (s *Subscriptions) Close() error {
	s.Stop()
	if s.kafka != nil {
		s.kafka.Close()
	}
	return s.engine.Close()
}

// Await returns the outcome of a command once it is known, as package commands' Outcomes has it.
func (s *Subscriptions) Await(ctx context.Context, command outcome.Command) (outcome.Outcome, error) {
	return s.follower.Await(ctx, command)
}

func (s *Subscriptions) describe(found *outcome.Outcome, position outcome.Position) error {
	return s.index.describe(found, follow.Place{Partition: position.Partition, Offset: position.Offset})
}

// Fingerprint returns the fingerprint of the first command under an id, if there is one that has one.
func (s *Subscriptions) Fingerprint(_ context.Context, id string) ([]byte, bool, error) {
	place, found, err := s.index.First(id)
	if err != nil || !found {
		return nil, false, err
	}
	c, found, err := s.index.command(place)
	if err != nil || !found || len(c.Fingerprint) == 0 {
		return nil, false, err
	}
	return c.Fingerprint, true, nil
}

// applied counts what was read.
func (s *Subscriptions) applied(batch *follow.Batch) {
	s.metrics.read.WithLabelValues("command").Add(float64(len(batch.Commands)))
	for i := range batch.Entries {
		s.metrics.read.WithLabelValues(kindName(batch.Entries[i].Kind)).Inc()
	}
}

func kindName(kind follow.Kind) string {
	switch kind {
	case follow.Event:
		return "event"
	case follow.Rejection:
		return "rejection"
	}
	return "dead-letter"
}

// Mount registers the routes on a mux, beside whatever else is served there.
func (s *Subscriptions) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /commands/{id}", s.serveStatus)
	mux.HandleFunc("GET /commands/{id}/outcomes", s.serveCommandStream)
	mux.HandleFunc("GET /outcomes", s.serveStreamOf)
}
