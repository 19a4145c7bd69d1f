// Package commands is the write side over HTTP: it takes in what clients want, writes it to the log as commands, and
// tells the clients what became of them. It works for any topology and knows none.
//
// An application declares routes. Each has a method and a path, the JSON Schema of its body, and a function that makes
// a key and a command of a request that has passed it:
//
//	commander, err := commands.New(commands.Config[string, Command]{
//		Application: "calculator",
//		Topic:       commands.Topic[string, Command]{Name: "calculator-commands", Key: codecs.String(), Value: codecs.JSON[Command]()},
//		Outputs:     commands.Outputs{Group: "calculator-commands", Events: []string{"calculator-events"}, …},
//		…
//	})
//	err = commander.Handle(commands.Route[string, Command]{
//		Method: "POST", Pattern: "/values", Schema: createSchema, Status: http.StatusCreated,
//		Build: func(r *commands.Request) (string, Command, error) {
//			body, err := r.JSON[CreateBody]()
//			id := r.NewID("value-id")
//			return id, Command{ID: r.CommandID(), …, Timestamp: r.Timestamp()}, err
//		},
//	})
//
// # A request's way
//
// Authorization, headers, body, schema, Build and Allow come first: what any of them refuses never reaches the log.
// Then the command is written, to the partition that Java's producer would choose for its key, and acknowledged by the
// log. By default the answer waits until the outcome is known and the view shows it (Config.Wait); a client shortens
// that with "Prefer: wait=N" or forgoes it with "Prefer: respond-async" (RFC 7240). Every answer to a command that is in
// the log carries its id and its position token in headers.
//
// # Idempotency
//
// With an Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header) the command's id, and every id that the
// server chooses, derive from the application, the principal, the method, the path and the key, so that a retry lands
// on the same partition under the same id, whichever commander takes it, and the processor applies it once. A second
// request with the same key and another body is refused: here if the first is known, else by the processor.
package commands

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/log"
)

// Errors of this package.
var (
	// ErrConfig is wrapped round everything that is wrong with a Config or a Route.
	ErrConfig = errors.New("configuration of the commander")
	// ErrClosed is returned by methods of a commander after Close.
	ErrClosed = errors.New("the commander is closed")
)

// The headers of an answer to a command that is in the log.
const (
	// TokenHeader carries the command's position: a query that sends it back sees at least that command's effect.
	TokenHeader = "Tidemill-Token"
	// CommandHeader carries the command's id.
	CommandHeader = "Tidemill-Command-Id"
)

// The defaults of Config.
const (
	DefaultBodyLimit      = 1 << 20
	DefaultMaxDepth       = 64
	DefaultWait           = 2 * time.Second
	DefaultMaxWait        = 30 * time.Second
	DefaultProduceTimeout = 5 * time.Second
	DefaultMaxInFlight    = 4096
	DefaultRemember       = 1 << 16
)

type (
	// Cluster says how to reach the brokers.
	Cluster = log.Config
	// Principal is who sends a request; see package auth.
	Principal = auth.Principal
	// Authorizer tells who sends a request; see package auth.
	Authorizer = auth.Authorizer
	// Outcome is what became of a command; see package outcome.
	Outcome = outcome.Outcome
)

// Topic is where commands are written.
type Topic[K, C any] struct {
	// Name is the topic's name.
	Name string
	// Key and Value translate. A codec that speaks through headers (codecs.HeaderCodec) has its headers written.
	Key   codecs.Codec[K]
	Value codecs.Codec[C]
}

// Outputs says where a processor reports what became of the commands.
type Outputs struct {
	// Group is the consumer group by which the processor reads the commands.
	Group string
	// Events, Rejections and DeadLetters are the topics it writes.
	Events      []string
	Rejections  []string
	DeadLetters []string
	// EventID reads an event's own id out of its value, for answers to name it; nil leaves it out.
	EventID func(topic string, value []byte) string
}

// Config makes a Commander. Application, Topic and Cluster must be set.
type Config[K, C any] struct {
	// Application names the application; ids derive from it.
	Application string
	// Topic is where the commands go.
	Topic Topic[K, C]
	// Cluster is how to reach the log.
	Cluster Cluster

	// Outcomes tells what became of a command: the subscriptions component where it runs in the same process. If nil and
	// Outputs names a group, the commander follows the outputs itself, in memory and from now on.
	Outcomes Outcomes
	// Outputs is followed by the commander itself where Outcomes is nil.
	Outputs Outputs
	// History is asked by id where the commander itself does not know the outcome of a retry, whose first attempt it may
	// not have seen: the client of the subscriptions. May be nil.
	History Outcomes
	// Positions tells when a view shows a command's effect; nil means that no view is waited for.
	Positions Positions

	// Authorizer tells who sends a request; nil means that everyone may, as anonymous.
	Authorizer Authorizer

	// BodyLimit is the greatest size of a body in bytes, MaxDepth the greatest depth of its arrays and objects; 0 means
	// the defaults.
	BodyLimit int64
	MaxDepth  int
	// Wait is how long an answer waits for the outcome where the client does not say; 0 means DefaultWait, negative not
	// at all. MaxWait bounds what a client may ask for.
	Wait, MaxWait time.Duration
	// ProduceTimeout bounds the wait for the log's acknowledgement; 1 s is the least.
	ProduceTimeout time.Duration
	// MaxInFlight bounds the requests that are being worked on; more are answered 503.
	MaxInFlight int
	// StatusURL is what the status resource of a command begins with, an absolute or relative URL that the command's id
	// is appended to; empty means "/commands/".
	StatusURL string

	// Clock is read once a request, for the command's timestamp; nil means time.Now.
	Clock func() time.Time
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Logger gets what an operator should know; nil means slog.Default.
	Logger *slog.Logger
	// LogCommands has each command shown at level Info, as long as they do not come in masses; else they are at level Debug.
	LogCommands bool
}

// withDefaults fills in and checks.
func (c Config[K, C]) withDefaults() (Config[K, C], error) {
	var wrong []error
	add := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	add(c.Application != "", "Application is empty: ids derive from it")
	add(c.Topic.Name != "", "Topic.Name is empty")
	if err := codecs.Check(c.Topic.Key); err != nil {
		add(false, "Topic.Key: %w", err)
	}
	if err := codecs.Check(c.Topic.Value); err != nil {
		add(false, "Topic.Value: %w", err)
	}
	setDefault(&c.BodyLimit, DefaultBodyLimit)
	setDefault(&c.MaxDepth, DefaultMaxDepth)
	setDefault(&c.Wait, DefaultWait)
	setDefault(&c.MaxWait, DefaultMaxWait)
	setDefault(&c.ProduceTimeout, DefaultProduceTimeout)
	setDefault(&c.MaxInFlight, DefaultMaxInFlight)
	setDefault(&c.StatusURL, "/commands/")
	add(c.BodyLimit > 0, "BodyLimit is %d bytes; it must be positive", c.BodyLimit)
	add(c.MaxDepth > 0 && c.MaxDepth <= 10000, "MaxDepth is %d; want 1 to 10000", c.MaxDepth)
	add(c.MaxWait > 0, "MaxWait is %s; it must be positive", c.MaxWait)
	add(c.ProduceTimeout >= time.Second, "ProduceTimeout is %s; want at least 1s", c.ProduceTimeout)
	add(c.MaxInFlight > 0, "MaxInFlight is %d; it must be positive", c.MaxInFlight)
	if c.Outcomes == nil && c.Outputs.Group != "" {
		add(len(c.Outputs.Events)+len(c.Outputs.Rejections) > 0, "Outputs names a group and no topic of events or rejections to follow")
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

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// InvalidError is what Build returns for a request that the schema lets pass and that makes no command all the same.
type InvalidError struct {
	// Pointer is the offending member as a JSON Pointer (RFC 6901), or empty.
	Pointer string
	// Detail says what is wrong and what to do about it; the client reads it.
	Detail string
	// Status is the answer's status, 422 if it is 0.
	Status int
}

// Error returns pointer and detail.
func (e *InvalidError) Error() string {
	if e.Pointer == "" {
		return e.Detail
	}
	return e.Pointer + ": " + e.Detail
}

// Invalid returns an InvalidError that is answered with 422.
func Invalid(pointer, detail string) error {
	return &InvalidError{Pointer: pointer, Detail: detail, Status: http.StatusUnprocessableEntity}
}
