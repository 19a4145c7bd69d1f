package topology

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/partition"
)

// The reasons for which a command goes to the dead-letter topic without having been decided.
var (
	errNoKey          = errors.New("the command has no key; write it under its aggregate's key")
	errTombstone      = errors.New("the record is a tombstone, not a command")
	errForeignKey     = errors.New("the record's key is not its aggregate's")
	errWrongPartition = errors.New("the record is not on its key's partition; let the producer partition by murmur2, as Java's does (librdkafka: partitioner=murmur2_random)")
	errNoID           = errors.New("the command has no id")
)

// decideInstance is the decide operator of one task.
type decideInstance[K, C, E, S any] struct {
	node       *graph.Node
	decider    Decider[K, C, E, S]
	key        codecs.Codec[K]
	placing    placing[K]
	state      graph.State
	seen       seenCommands
	rows       *cache[S]
	events     handler[K, E]
	rejections handler[K, Rejection]
	table      handler[K, Change[S]]
	observed   bool // whether anything follows the table

	keyBytes, otherKey, valueBytes, extra []byte // scratch
}

func newDecideInstance[K, C, E, S any](ctx *graph.Context, node *graph.Node, key codecs.Codec[K], name, seen string, decider Decider[K, C, E, S]) (*decideInstance[K, C, E, S], error) {
	d := &decideInstance[K, C, E, S]{node: node, decider: decider, key: key, placing: newPlacing(key), state: ctx.State(name), rows: newCache[S](ctx.CacheBytes)}
	d.decider.State = codecs.ForStore(decider.State)
	d.seen = seenCommands{rows: ctx.State(seen), horizon: decider.Horizon.Milliseconds()}
	if d.state == nil || d.seen.rows == nil {
		return nil, fmt.Errorf("%s: its store is not part of the task", node.Name)
	}
	ctx.OnEvict(d.rows.evict)
	return d, nil
}

// handle decides one command.
func (d *decideInstance[K, C, E, S]) handle(ctx *graph.Context, key K, command C) error {
	if err := d.place(ctx, key, command); err != nil {
		return invalidError(d.node, err)
	}
	id := d.decider.ID(command)
	if id == "" {
		return invalidError(d.node, errNoID)
	}
	fingerprint := fingerprintOf(ctx)
	first, known, err := d.seen.find(ctx.StreamTime, id)
	if err != nil {
		return err
	}
	if known {
		if first == fingerprint {
			return nil
		}
		return d.reject(ctx, key, id, IdempotencyConflict, "another command was sent under this id before; choose a new Idempotency-Key for a new command")
	}
	state, found, err := d.load()
	if err != nil {
		return err
	}
	d.extra = appendSeen(d.extra[:0], id, fingerprint, ctx.StreamTime-ctx.Timestamp)
	ctx.At = d.node
	decision := d.decider.Decide(state, found, command)
	if decision.kind != "" {
		if err := d.remember(found); err != nil {
			return err
		}
		return d.reject(ctx, key, id, decision.kind, decision.reason)
	}
	return d.accept(ctx, key, id, state, found, decision)
}

// place checks that the command is where its aggregate's state is. It leaves the key's bytes in d.keyBytes.
func (d *decideInstance[K, C, E, S]) place(ctx *graph.Context, key K, command C) error {
	if ctx.NullKey {
		return errNoKey
	}
	if ctx.NullValue {
		return errTombstone
	}
	var err error
	if d.keyBytes, err = d.key.Append(d.keyBytes[:0], key); err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	if d.decider.Key != nil {
		if d.otherKey, err = d.key.Append(d.otherKey[:0], d.decider.Key(command)); err != nil {
			return fmt.Errorf("encoding the aggregate's key: %w", err)
		}
		if !bytes.Equal(d.keyBytes, d.otherKey) {
			return fmt.Errorf("%w: %q under %q", errForeignKey, d.otherKey, d.keyBytes)
		}
	}
	if want := partition.ForKey(d.placing.key(d.keyBytes), ctx.Partitions); want != ctx.Partition {
		return fmt.Errorf("%w: it is on %d, its key's is %d", errWrongPartition, ctx.Partition, want)
	}
	return nil
}

// load returns the aggregate's state.
func (d *decideInstance[K, C, E, S]) load() (state S, found bool, err error) {
	if state, ok := d.rows.get(d.keyBytes); ok {
		return state, true, nil
	}
	value, found, err := d.state.Get(d.keyBytes)
	if err != nil || !found {
		return state, false, err
	}
	state, err = d.decider.State.Decode(value)
	if err != nil {
		return state, false, fmt.Errorf("%s: decoding the state of %q: %w", d.node.Name, d.keyBytes, err)
	}
	d.rows.put(d.keyBytes, state, len(value))
	return state, true, nil
}

// former returns the state for Change.Old: decoded again where Evolve might change it in place.
func (d *decideInstance[K, C, E, S]) former(state S, found bool) (S, error) {
	if !found || !d.observed || d.rows != nil {
		return state, nil
	}
	value, _, err := d.state.Get(d.keyBytes)
	if err != nil {
		return state, err
	}
	return d.decider.State.Decode(value)
}

// remember writes the command's id beside an unchanged state, so that a rejection stands as well.
func (d *decideInstance[K, C, E, S]) remember(found bool) error {
	if !found {
		d.state.Put(d.keyBytes, nil, d.extra)
		return nil
	}
	value, _, err := d.state.Get(d.keyBytes)
	if err != nil {
		return err
	}
	d.state.Put(d.keyBytes, value, d.extra)
	return nil
}

// accept lets the state follow the events and hands both on.
func (d *decideInstance[K, C, E, S]) accept(ctx *graph.Context, key K, id string, state S, found bool, decision Decision[E]) error {
	change := Change[S]{HasOld: found, New: state, HasNew: found}
	var err error
	if change.Old, err = d.former(state, found); err != nil {
		return err
	}
	if decision.accepted {
		change.New, change.HasNew = d.decider.Evolve(state, found, decision.first), true
		for _, event := range decision.more {
			change.New = d.decider.Evolve(change.New, true, event)
		}
		if d.decider.Deleted != nil && d.decider.Deleted(change.New) {
			change.HasNew = false
		}
	}
	if err := d.store(change); err != nil {
		return err
	}
	if !decision.accepted {
		return nil
	}
	before := ctx.Forward
	ctx.Forward = caused(ctx, id)
	err = d.emit(ctx, key, decision, change)
	ctx.Forward = before
	return err
}

// emit hands on the events and the change of the state.
func (d *decideInstance[K, C, E, S]) emit(ctx *graph.Context, key K, decision Decision[E], change Change[S]) error {
	if err := d.events(ctx, key, decision.first); err != nil {
		return err
	}
	for _, event := range decision.more {
		if err := d.events(ctx, key, event); err != nil {
			return err
		}
	}
	return d.table(ctx, key, change)
}

// store puts the new state, or deletes it. The value is encoded here: nothing that is changed later in place can reach it.
func (d *decideInstance[K, C, E, S]) store(change Change[S]) error {
	if !change.HasNew {
		d.rows.remove(d.keyBytes)
		d.state.Put(d.keyBytes, nil, d.extra)
		return nil
	}
	var err error
	if d.valueBytes, err = d.decider.State.Append(d.valueBytes[:0], change.New); err != nil {
		return encodeError(d.node, fmt.Errorf("encoding the state: %w", err))
	}
	d.state.Put(d.keyBytes, d.valueBytes, d.extra)
	d.rows.put(d.keyBytes, change.New, len(d.valueBytes))
	return nil
}

func (d *decideInstance[K, C, E, S]) reject(ctx *graph.Context, key K, id string, kind RejectionKind, reason string) error {
	before := ctx.Forward
	ctx.Forward = caused(ctx, id)
	err := d.rejections(ctx, key, Rejection{
		ID: DeriveID(id, -1), CommandID: id, Action: rejected,
		Data: RejectionData{Kind: kind, Reason: reason}, Timestamp: ctx.Timestamp,
	})
	ctx.Forward = before
	return err
}

// caused returns the headers that go on, and those that tie what follows to its command.
func caused(ctx *graph.Context, id string) []graph.Header {
	idBytes := ctx.Arena(len(id))
	copy(idBytes, id)
	cause := meta.AppendCause(ctx.Arena(causeSize)[:0], ctx.Partition, ctx.Offset)
	headers := append(ctx.Runtime.Headers(len(ctx.Forward)+2), ctx.Forward...)
	return append(headers, graph.Header{Key: meta.Command, Value: idBytes}, graph.Header{Key: meta.Cause, Value: cause})
}

// causeSize has room for two varints.
const causeSize = 15
