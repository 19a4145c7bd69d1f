package topology

import (
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// Decider is the business logic of one kind of aggregate: a command comes in, what happened or why not comes out, and the
// state follows from what happened. All of it is pure: no clock, no randomness, no I/O. Validate before mutation: Decide
// changes nothing, Evolve refuses nothing. (Chassaing, "Functional Event Sourcing Decider".)
type Decider[K, C, E, S any] struct {
	// ID returns the command's id. Within the horizon a command id is applied once.
	ID func(C) string
	// Key returns the key of the aggregate that the command is about. If set, a command under another key goes to the
	// dead-letter topic: it would make a second state for one aggregate.
	Key func(C) K
	// Decide validates the command against the state (found is false where there is none) and says what happens.
	Decide func(state S, found bool, command C) Decision[E]
	// Evolve returns the state after an event. It is total: an event has happened. found is false before the first.
	Evolve func(state S, found bool, event E) S
	// Deleted tells, if set, that the state after an event is no state any more: the row is deleted.
	Deleted func(S) bool
	// State is the codec of the state; nil takes codecs.JSON.
	State codecs.Codec[S]
	// Horizon is how long a command id is remembered, in message time; 0 takes 24 hours. The changelog is kept from
	// compaction for so long.
	Horizon time.Duration
}

// DefaultHorizon is how long command ids are remembered unless a Decider says otherwise.
const DefaultHorizon = 24 * time.Hour

// Decided is what comes out of Decide.
type Decided[K, E, S any] struct {
	// Events have happened. They carry their command's key, timestamp, id and place (in headers).
	Events Stream[K, E]
	// State is the present state of each aggregate.
	State Table[K, S]
	// Rejections are commands that were refused, and why.
	Rejections Stream[K, Rejection]
}

// Decide runs a decider over a stream of commands: events, state and rejections from one operator. name is the store's
// (mandatory: the state is found again by it).
//
// A command id that was seen within the horizon gives nothing new: the first outcome stands. The same id with another body
// (by the header that the commander sets, else by the record's bytes) is rejected with IdempotencyConflict. A command
// without a key, under another aggregate's key, or on a partition that is not its key's goes to the dead-letter topic.
func (s Stream[K, C]) Decide[E, S any](name string, decider Decider[K, C, E, S]) Decided[K, E, S] {
	b := s.builder
	node := b.node(graph.Stateful, "decide", name, s.out.node)
	if decider.State == nil {
		decider.State = codecs.JSON[S]()
	}
	if decider.Horizon == 0 {
		decider.Horizon = DefaultHorizon
	}
	checkDecider(b, node, s, decider)
	store := b.store(node, name, typesOf[K, S]())
	store.MinCompactionLag = decider.Horizon
	seen := name + "-commands"
	store.DerivedStores = []string{seen}
	store.Derive = deriveSeen(seen)
	store.DerivedExpiry = seenExpiry(decider.Horizon)
	if name != "" {
		b.reserve(node, seen, store)
	}

	events := newPort[K, E](b, b.node(graph.Stateless, "events", name, node))
	rejections := newPort[K, Rejection](b, b.node(graph.Stateless, "rejections", name, node))
	table := newPort[K, Change[S]](b, b.node(graph.Stateless, "state", name, node))
	events.node.Terminal, rejections.node.Terminal, table.node.Terminal = true, true, true
	s.out.attach(func(ctx *graph.Context) (handler[K, C], error) {
		instance, err := newDecideInstance(ctx, node, s.key, name, seen, decider)
		if err != nil {
			return nil, err
		}
		if instance.events, err = events.start(ctx); err != nil {
			return nil, err
		}
		if instance.rejections, err = rejections.start(ctx); err != nil {
			return nil, err
		}
		if instance.table, err = table.start(ctx); err != nil {
			return nil, err
		}
		instance.observed = table.observed()
		return instance.handle, nil
	})
	return Decided[K, E, S]{
		Events:     Stream[K, E]{builder: b, out: events, key: s.key},
		State:      Table[K, S]{builder: b, out: table, store: store, key: s.key, value: decider.State},
		Rejections: Stream[K, Rejection]{builder: b, out: rejections, key: s.key, value: codecs.JSON[Rejection]()},
	}
}

func checkDecider[K, C, E, S any](b *Builder, node *graph.Node, s Stream[K, C], decider Decider[K, C, E, S]) {
	if decider.ID == nil {
		b.problem(node, "Decider.ID is missing: without a command's id nothing is applied once")
	}
	if decider.Decide == nil {
		b.problem(node, "Decider.Decide is missing")
	}
	if decider.Evolve == nil {
		b.problem(node, "Decider.Evolve is missing")
	}
	if decider.Horizon < 0 {
		b.problem(node, "Decider.Horizon is %v; it must not be negative", decider.Horizon)
	}
	if err := codecs.Check(decider.State); err != nil {
		b.problem(node, "state codec: %v", err)
	}
	needsKey(b, node, s.key)
	if s.rekeyed {
		b.problem(node, "the key was changed before; repartition the stream, so that all of a key's records meet in one task")
	}
}
