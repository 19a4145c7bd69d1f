package follow

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tidemill/tidemill/commands/outcome"
)

// Await returns the outcome of a command once it is known. When ctx is done first it returns a pending outcome and
// ctx's error.
func (f *Follower) Await(ctx context.Context, command outcome.Command) (outcome.Outcome, error) {
	if command.Position.Topic != f.spec.Commands {
		return outcome.Outcome{}, fmt.Errorf("%w: %s, not %s", ErrOtherTopic, command.Position.Topic, f.spec.Commands)
	}
	place := Place{Partition: command.Position.Partition, Offset: command.Position.Offset}
	w := f.enter(place)
	defer f.leave(w)
	wait := f.timing.Patience
	if !command.Retry {
		wait *= 3 // it is silent only if it was accepted without an event
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for {
		found, err := f.Lookup(command)
		if err != nil || found.Known() {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-w.wake:
		case <-patience.C:
			f.want(w)
		}
	}
}

// Lookup returns what is known now of the command at a position.
func (f *Follower) Lookup(command outcome.Command) (outcome.Outcome, error) {
	place := Place{Partition: command.Position.Partition, Offset: command.Position.Offset}
	// Whether the place is settled is read first: whatever was to come is in the index by then.
	settled := f.Settled(place.Partition) > place.Offset
	found := outcome.Outcome{ID: command.ID, Status: outcome.Pending, Token: command.Position.String()}
	entries, err := f.index.At(place)
	if err != nil {
		return found, err
	}
	if len(entries) > 0 {
		summarize(&found, entries)
		return found, nil
	}
	switch {
	case !settled:
		return found, nil
	case !f.index.Covers(place):
		found.Status = outcome.Settled
		return found, nil
	}
	return f.silent(found, place, command)
}

// silent is the outcome of a settled command that left no record: a retry's is that of the first under its id.
func (f *Follower) silent(found outcome.Outcome, place Place, command outcome.Command) (outcome.Outcome, error) {
	found.Status = outcome.Accepted
	if command.ID == "" {
		return found, nil
	}
	first, known, err := f.index.First(command.ID)
	if err != nil {
		return found, err
	}
	if !known {
		if command.Retry && !f.index.Commands() {
			found.Status = outcome.Settled
		}
		return found, nil
	}
	if first == place {
		return found, nil
	}
	found.Duplicate = true
	settled := f.Settled(first.Partition) > first.Offset
	entries, err := f.index.At(first)
	switch {
	case err != nil:
		return found, err
	case len(entries) > 0:
		summarize(&found, entries)
	case !settled || !f.index.Covers(first):
		found.Status = outcome.Settled
	}
	return found, nil
}

// summarize makes one outcome of the entries with one cause. A record that is there twice, as at-least-once delivery
// may have it, counts once.
func summarize(found *outcome.Outcome, entries []Entry) {
	found.Status = outcome.Accepted
	for i := range entries {
		entry := &entries[i]
		if found.ID == "" {
			found.ID = entry.Command
		}
		if found.Timestamp == 0 {
			found.Timestamp = entry.Timestamp
		}
		if found.Aggregate == "" && utf8.Valid(entry.Key) {
			found.Aggregate = string(entry.Key)
		}
		switch entry.Kind {
		case DeadLetter:
			found.Status, found.Kind, found.Reason = outcome.Failed, entry.Why, entry.Reason
		case Rejection:
			if found.Status != outcome.Failed {
				found.Status, found.Kind, found.Reason = outcome.Rejected, entry.Why, entry.Reason
			}
		case Event:
			event := outcome.Event{ID: entry.ID, Topic: entry.Topic, Partition: entry.Partition, Offset: entry.Offset}
			again := entry.ID != "" && slices.ContainsFunc(found.Events, func(other outcome.Event) bool {
				return other.ID == event.ID && other.Topic == event.Topic
			})
			if !again {
				found.Events = append(found.Events, event)
			}
		}
	}
}

// Watch is told when something was read about one aggregate or one command.
type Watch struct {
	// C receives after a change; changes while nobody receives are one.
	C    <-chan struct{}
	c    chan struct{}
	name string
}

// AggregateTopic names what a Watch on one aggregate is about.
func AggregateTopic(key []byte) string { return "a" + string(key) }

// CommandTopic names what a Watch on one command's id is about.
func CommandTopic(id string) string { return "c" + id }

// TagTopic names what a Watch on the commands of one tag is about.
func TagTopic(tag string) string { return "t" + tag }

// Watch begins to watch; the caller gives it back with Unwatch.
func (f *Follower) Watch(name string) *Watch {
	c := make(chan struct{}, 1)
	watch := &Watch{C: c, c: c, name: name}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches[name] == nil {
		f.watches[name] = map[*Watch]struct{}{}
	}
	f.watches[name][watch] = struct{}{}
	return watch
}

// Unwatch ends a watch.
func (f *Follower) Unwatch(watch *Watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watches[watch.name], watch)
	if len(f.watches[watch.name]) == 0 {
		delete(f.watches, watch.name)
	}
}

// notifyWatches tells the watches that a batch concerns; called with mu held.
func (f *Follower) notifyWatches(batch *Batch) {
	if len(f.watches) == 0 {
		return
	}
	tell := func(name string) {
		for watch := range f.watches[name] {
			select {
			case watch.c <- struct{}{}:
			default:
			}
		}
	}
	for i := range batch.Commands {
		tell(AggregateTopic(batch.Commands[i].Key))
		tell(CommandTopic(batch.Commands[i].ID))
		if tag := batch.Commands[i].Tag; tag != "" {
			tell(TagTopic(tag))
		}
	}
	for i := range batch.Entries {
		tell(AggregateTopic(batch.Entries[i].Key))
		tell(CommandTopic(batch.Entries[i].Command))
	}
}
