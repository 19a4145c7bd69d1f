package processors

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/kafka"
)

// Guarantee is how often a record's effects happen, over crashes and rebalances.
type Guarantee string

// The guarantees.
const (
	// ExactlyOnce writes outputs, state and offsets in one transaction: the default.
	ExactlyOnce Guarantee = "exactly-once"
	// AtLeastOnce repeats some records after a crash, and spares the transaction.
	AtLeastOnce Guarantee = "at-least-once"
)

// OnError is what happens to a record that cannot be processed: undecodable, misplaced, or failing in a user's function.
type OnError string

// The policies.
const (
	// DeadLetter writes it to the topic <application>-dead-letters, with the cause, and goes on: the default.
	DeadLetter OnError = "dead-letter"
	// Stop ends the processor with the error.
	Stop OnError = "stop"
	// Skip logs and counts it, and goes on.
	Skip OnError = "skip"
)

// OnStop is what becomes of an instance's partitions when it is told to stop.
type OnStop string

// The ways to stop.
const (
	// KeepPartitions leaves the instance a member of its groups until the session time-out: a restart within that time takes
	// its partitions up again, with the state that it has on its disk, and nothing moves. The default.
	KeepPartitions OnStop = "keep"
	// LeaveGroup has the instance leave its groups after its last commit: the other instances take its partitions over at once,
	// and restore what they do not have of their state. For services whose users wait for what is new, and for instances that do
	// not come back.
	LeaveGroup OnStop = "leave"
)

// Config of a processor. The zero value of each field but Kafka.Brokers and StateDir takes the default.
type Config struct {
	// Kafka says how to reach the brokers.
	Kafka kafka.Config
	// StateDir is the directory for local state; one process at a time uses it. State is in a sub-directory named after the
	// application.
	StateDir string
	// InstanceID tells this instance from the others of the application, over restarts: static membership (KIP-345) and
	// transactional ids follow from it. Empty takes one that is made once and kept in the state directory.
	InstanceID string
	// Guarantee: ExactlyOnce by default.
	Guarantee Guarantee
	// OnError: DeadLetter by default.
	OnError OnError
	// OnStop: KeepPartitions by default.
	OnStop OnStop
	// CreateTopics lets the processor create source and sink topics that do not exist. Without it they are refused at
	// start-up with the command that creates them. Changelogs, repartition topics and the dead-letter topic are always
	// created, and always checked.
	CreateTopics bool
	// AwaitBrokers lets the processor wait, at its start too, for brokers that cannot be reached: in a fleet that starts together
	// they may come last. Without it Run ends with kafka.ErrUnreachable if no broker answers at first.
	AwaitBrokers bool
	// Partitions is the number of partitions of topics that are created without one of their own; 4 by default.
	Partitions int32
	// Replication of created topics; 0 leaves it to the broker.
	Replication int16
	// CommitInterval bounds how long work waits for its commit under load; 50 ms by default. An idle processor commits at once.
	CommitInterval time.Duration
	// CommitTimeout bounds one commit; 30 s by default.
	CommitTimeout time.Duration
	// BufferBytes bounds the uncommitted state and records in memory, of each sub-topology; 4 MiB by default.
	BufferBytes int
	// CacheBytes bounds the decoded rows of tables and aggregates held in memory, of each sub-topology; its tasks share it
	// evenly. 32 MiB by default. Rows that fit into half of it are never read from the disk again.
	CacheBytes int
	// SessionTimeout is after how long without a sign of life an instance's partitions go to others; 10 s by default. It is
	// the transactions' time-out too.
	SessionTimeout time.Duration
	// HeartbeatInterval is how often an instance gives a sign of life; 1 s by default, at most a third of SessionTimeout.
	HeartbeatInterval time.Duration
	// RebalanceTimeout bounds how long a rebalance waits for an instance; 30 s by default.
	RebalanceTimeout time.Duration
	// Logger gets structured logs; nil discards them.
	Logger *slog.Logger
	// Metrics, if not nil, is where the processor's metrics (tidemill_processor_*) are registered.
	Metrics prometheus.Registerer
}

// withDefaults fills in what is left open.
func (c Config) withDefaults() Config {
	if c.Guarantee == "" {
		c.Guarantee = ExactlyOnce
	}
	if c.OnError == "" {
		c.OnError = DeadLetter
	}
	setDefault(&c.OnStop, KeepPartitions)
	setDefault(&c.Partitions, 4)
	setDefault(&c.CommitInterval, 50*time.Millisecond)
	setDefault(&c.CommitTimeout, 30*time.Second)
	setDefault(&c.BufferBytes, 4<<20)
	setDefault(&c.CacheBytes, 32<<20)
	setDefault(&c.SessionTimeout, 10*time.Second)
	setDefault(&c.HeartbeatInterval, time.Second)
	setDefault(&c.RebalanceTimeout, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Kafka = c.Kafka.WithDefaults()
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns everything that is wrong with the configuration, joined and wrapped in ErrConfig, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if err := c.Kafka.Validate(); err != nil {
		wrong = append(wrong, err)
	}
	if c.StateDir == "" {
		add("state directory: none given; name one that survives restarts")
	}
	if c.Guarantee != ExactlyOnce && c.Guarantee != AtLeastOnce {
		add("guarantee: %q; want %s or %s", c.Guarantee, ExactlyOnce, AtLeastOnce)
	}
	if c.OnError != DeadLetter && c.OnError != Stop && c.OnError != Skip {
		add("on error: %q; want %s, %s or %s", c.OnError, DeadLetter, Stop, Skip)
	}
	if c.OnStop != KeepPartitions && c.OnStop != LeaveGroup {
		add("on stop: %q; want %s or %s", c.OnStop, KeepPartitions, LeaveGroup)
	}
	if err := checkInstanceID(c.InstanceID); err != nil {
		wrong = append(wrong, err)
	}
	if c.Partitions < 1 || c.Partitions > 10_000 {
		add("partitions: %d; want 1 to 10000", c.Partitions)
	}
	if c.BufferBytes < 64<<10 {
		add("buffer: %d bytes; want at least 65536", c.BufferBytes)
	}
	if c.CacheBytes < 0 {
		add("cache: %d bytes; it must not be negative", c.CacheBytes)
	}
	if c.CommitInterval < 0 || c.CommitInterval >= c.SessionTimeout {
		add("commit interval: %s; want less than the session time-out (%s)", c.CommitInterval, c.SessionTimeout)
	}
	if c.SessionTimeout < time.Second {
		add("session time-out: %s; want at least 1s", c.SessionTimeout)
	}
	if c.HeartbeatInterval <= 0 || c.HeartbeatInterval > c.SessionTimeout/3 {
		add("heartbeat interval: %s; want at most a third of the session time-out (%s)", c.HeartbeatInterval, c.SessionTimeout)
	}
	if c.RebalanceTimeout < c.SessionTimeout {
		add("rebalance time-out: %s; want at least the session time-out (%s)", c.RebalanceTimeout, c.SessionTimeout)
	}
	if c.CommitTimeout <= 0 {
		add("commit time-out: %s; want more than 0", c.CommitTimeout)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConfig, errors.Join(wrong...))
}

// checkInstanceID: the id is part of transactional ids and of a group's protocol.
func checkInstanceID(id string) error {
	if len(id) > 100 {
		return fmt.Errorf("instance id: %d characters; want at most 100", len(id))
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-' {
			return fmt.Errorf("instance id: %q contains %q; want letters, digits, '.', '_' and '-'", id, r)
		}
	}
	return nil
}
