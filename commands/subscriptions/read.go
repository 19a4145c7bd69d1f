package subscriptions

import (
	"unicode/utf8"

	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/store"
)

// At implements follow.Index.
func (x *index) At(place follow.Place) ([]follow.Entry, error) {
	from := appendPlace(nil, place)
	rows := x.engine.Range(storeEntries, from, store.PrefixEnd(from), false)
	defer rows.Close()
	var entries []follow.Entry
	for rows.Next() {
		entry, err := parseEntry(rows.Key(), rows.Value())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, rows.Err()
}

// First implements follow.Index.
func (x *index) First(id string) (follow.Place, bool, error) {
	prefix := appendName(nil, id)
	rows := x.engine.Range(storeIDs, prefix, store.PrefixEnd(prefix), false)
	defer rows.Close()
	if !rows.Next() {
		return follow.Place{}, false, rows.Err()
	}
	place, ok := parsePlace(rows.Key()[len(prefix):])
	return place, ok, nil
}

// Covers implements follow.Index.
func (x *index) Covers(place follow.Place) bool {
	x.mu.RLock()
	floor, ok := x.floors[place.Partition]
	x.mu.RUnlock()
	if !ok || place.Offset < floor.offset {
		return false
	}
	c, found, err := x.command(place)
	return err == nil && found && c.Timestamp >= floor.since
}

// Commands implements follow.Index.
func (x *index) Commands() bool { return true }

func (x *index) command(place follow.Place) (command, bool, error) {
	value, found, err := x.engine.Get(storeCommands, appendPlace(nil, place))
	if err != nil || !found {
		return command{}, false, err
	}
	c, err := parseCommand(place, value)
	return c, err == nil, err
}

// cursor is how far a stream has come in each partition of commands: the next offset.
type cursor map[int32]int64

// after visits the places of one name in a store of references that lie at or beyond the cursor, partition after
// partition in the order of the log. When visit returns false for a place, the rest of its partition is skipped.
func (x *index) after(name, of string, at cursor, visit func(follow.Place) (bool, error)) error {
	prefix := appendName(nil, of)
	end := store.PrefixEnd(prefix)
	for from := prefix; from != nil; {
		next, err := x.run(name, from, end, len(prefix), at, visit)
		if err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		from = append(prefix[:len(prefix):len(prefix)], next...)
	}
	return nil
}

// run visits the places of one partition and returns where the next one begins, nil at the end.
func (x *index) run(name string, from, end []byte, skip int, at cursor, visit func(follow.Place) (bool, error)) ([]byte, error) {
	rows := x.engine.Range(name, from, end, false)
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	place, _ := parsePlace(rows.Key()[skip:])
	partition := place.Partition
	beyond := appendPlace(nil, follow.Place{Partition: partition + 1})
	if begin := at[partition]; place.Offset < begin {
		return appendPlace(nil, follow.Place{Partition: partition, Offset: begin}), nil
	}
	for {
		if place.Partition != partition {
			return appendPlace(nil, place), nil
		}
		more, err := visit(place)
		if err != nil {
			return nil, err
		}
		if !more {
			return beyond, nil
		}
		if !rows.Next() {
			return nil, rows.Err()
		}
		place, _ = parsePlace(rows.Key()[skip:])
	}
}

// describe adds to an outcome what the command itself tells.
func (x *index) describe(found *outcome.Outcome, place follow.Place) error {
	c, ok, err := x.command(place)
	if err != nil || !ok {
		return err
	}
	if found.ID == "" {
		found.ID = c.ID
	}
	found.Timestamp, found.Principal = c.Timestamp, c.Principal
	if utf8.Valid(c.Key) {
		found.Aggregate = string(c.Key)
	}
	return nil
}
