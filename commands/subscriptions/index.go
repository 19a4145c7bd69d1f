package subscriptions

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/internal/store"
)

// index keeps commands and their outcomes in a store, the positions reached in the same batches. The follower's
// goroutine writes; anyone reads.
//
// Commands make themselves findable by id and by aggregate. Entries do so by id only where the application does not tell
// the ids of commands without our header: else each would write the same rows again.
type index struct {
	engine    store.Engine
	horizon   int64 // milliseconds of message time
	now       func() time.Time
	entriesID bool // entries make their command findable by id

	// Owned by the follower's goroutine.
	ids    map[string][16]byte // of the topics
	clocks map[int32]*clock
	batch  *store.Batch

	mu     sync.RWMutex
	floors map[int32]floor // guarded by mu
}

// floor is where a command partition begins to be kept.
type floor struct {
	offset int64 // commands below are not kept
	since  int64 // outcomes of commands with an earlier timestamp may be missing; milliseconds since the epoch
}

func newIndex(engine store.Engine, horizon time.Duration, now func() time.Time, entriesID bool) *index {
	return &index{
		engine: engine, horizon: horizon.Milliseconds(), now: now, entriesID: entriesID,
		clocks: map[int32]*clock{}, batch: store.NewBatch(), floors: map[int32]floor{},
	}
}

var _ follow.Index = (*index)(nil)

// Open implements follow.Index: it goes on where the checkpoints say, or begins a horizon before the newest command.
func (x *index) Open(ctx context.Context, opening follow.Opening) (follow.Positions, error) {
	x.ids = map[string][16]byte{}
	for name, topic := range opening.Topics {
		x.ids[name] = topic.ID
	}
	positions := x.trusted(opening)
	if positions == nil {
		var err error
		if positions, err = x.begin(ctx, opening); err != nil {
			return nil, err
		}
	}
	return positions, x.load(opening)
}

// trusted returns the stored positions if every one of them can be believed.
func (x *index) trusted(opening follow.Opening) follow.Positions {
	checkpoints := x.engine.Checkpoints()
	if len(checkpoints) != len(opening.Ends) {
		return nil
	}
	positions := follow.Positions{}
	for at, end := range opening.Ends {
		checkpoint, ok := checkpoints[checkpointName(at)]
		if !ok || checkpoint.TopicID != x.ids[at.Topic] || checkpoint.Offset > end || checkpoint.Offset < opening.Starts[at] {
			return nil
		}
		positions[at] = checkpoint.Offset
	}
	return positions
}

func checkpointName(at follow.Partition) string {
	return at.Topic + "/" + strconv.Itoa(int(at.Partition))
}

// begin empties the store and finds where a horizon's worth of outcomes begins. The clock of the machine bounds only
// how far a command from the future can move that point.
func (x *index) begin(ctx context.Context, opening follow.Opening) (follow.Positions, error) {
	if err := x.clear(); err != nil {
		return nil, err
	}
	commands := opening.Spec.Commands
	newest, found, err := opening.Log.Newest(ctx, commands, opening.Topics[commands])
	if err != nil {
		return nil, fmt.Errorf("asking for the newest command: %w", err)
	}
	positions, since := opening.Starts, int64(0)
	if since = min(newest, x.now().UnixMilli()) - x.horizon; found && since > 0 {
		if positions, err = opening.Log.Offsets(ctx, follow.Since(since), opening.Topics); err != nil {
			return nil, fmt.Errorf("asking where the horizon begins: %w", err)
		}
	} else {
		since = 0
	}
	x.batch.Reset()
	for at, offset := range positions {
		x.checkpoint(at, offset)
		if at.Topic == commands {
			x.batch.Put(storeFloors, floorKey(at.Partition), appendFloor(nil, floor{offset: offset, since: since}))
		}
	}
	return positions, x.engine.Apply(x.batch)
}

func (x *index) clear() error {
	for _, name := range []string{storeCommands, storeEntries, storeIDs, storeAggregates, storeTags, storeFloors} {
		if err := x.engine.DeleteStore(name, name); err != nil {
			return err
		}
	}
	for name := range x.engine.Checkpoints() {
		if err := x.engine.DeleteStore(storeFloors, name); err != nil {
			return err
		}
	}
	return nil
}

func (x *index) checkpoint(at follow.Partition, offset int64) {
	x.batch.SetCheckpoint(store.Checkpoint{
		Changelog: checkpointName(at), Partition: at.Partition, TopicID: x.ids[at.Topic], Offset: offset,
	})
}

// load reads floors and clocks back.
func (x *index) load(opening follow.Opening) error {
	floors := map[int32]floor{}
	for partition := range opening.Topics[opening.Spec.Commands].Partitions {
		value, found, err := x.engine.Get(storeFloors, floorKey(partition))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: no floor of partition %d", errRow, partition)
		}
		if floors[partition], err = parseFloor(value); err != nil {
			return err
		}
		x.clocks[partition] = &clock{}
		last, found, err := x.last(partition)
		if err != nil {
			return err
		}
		if found {
			x.clocks[partition].now = last.seen
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.floors = floors
	return nil
}

func (x *index) last(partition int32) (command, bool, error) {
	from := appendPlace(nil, follow.Place{Partition: partition})
	rows := x.engine.Range(storeCommands, from, appendPlace(nil, follow.Place{Partition: partition + 1}), true)
	defer rows.Close()
	if !rows.Next() {
		return command{}, false, rows.Err()
	}
	place, _ := parsePlace(rows.Key())
	last, err := parseCommand(place, rows.Value())
	return last, true, err
}

// Apply implements follow.Index.
func (x *index) Apply(batch *follow.Batch) error {
	x.batch.Reset()
	var key, value []byte
	for i := range batch.Commands {
		c := command{Command: batch.Commands[i]}
		c.seen = x.clocks[c.Place.Partition].tick(c.Timestamp, x.now().UnixMilli())
		key, value = appendPlace(key[:0], c.Place), appendCommand(value[:0], &c)
		x.batch.Put(storeCommands, key, value)
		if c.ID != "" {
			key = appendPlace(appendName(key[:0], c.ID), c.Place)
			x.batch.Put(storeIDs, key, nil)
		}
		key = appendPlace(appendName(key[:0], string(c.Key)), c.Place)
		x.batch.Put(storeAggregates, key, nil)
		if c.Tag != "" {
			key = appendPlace(appendName(key[:0], c.Tag), c.Place)
			x.batch.Put(storeTags, key, nil)
		}
	}
	for i := range batch.Entries {
		e := &batch.Entries[i]
		if e.Cause.Offset < x.floor(e.Cause.Partition).offset {
			continue
		}
		key, value = appendEntryKey(key[:0], e), appendEntry(value[:0], e)
		x.batch.Put(storeEntries, key, value)
		if x.entriesID && e.Command != "" && !e.Conflict() { // a conflict is no outcome of its id
			key = appendPlace(appendName(key[:0], e.Command), e.Cause)
			x.batch.Put(storeIDs, key, nil)
		}
	}
	for at, offset := range batch.Positions {
		x.checkpoint(at, offset)
	}
	floors, err := x.expire(2*len(batch.Commands) + 16)
	if err != nil {
		return err
	}
	if err := x.engine.Apply(x.batch); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for partition, raised := range floors {
		x.floors[partition] = raised
	}
	return nil
}

// expire removes up to most commands that lie a horizon back, with all that refers to them.
func (x *index) expire(most int) (map[int32]floor, error) {
	raised := map[int32]floor{}
	for partition, clock := range x.clocks {
		limit := clock.now - x.horizon
		if clock.front >= limit {
			continue
		}
		clock.front = clock.now // unless a row is found below
		from := x.floor(partition)
		to := from.offset
		rows := x.engine.Range(storeCommands, appendPlace(nil, follow.Place{Partition: partition, Offset: from.offset}),
			appendPlace(nil, follow.Place{Partition: partition + 1}), false)
		for n := 0; n < most && rows.Next(); n++ {
			place, _ := parsePlace(rows.Key())
			c, err := parseCommand(place, rows.Value())
			if err != nil {
				rows.Close()
				return nil, err
			}
			clock.front = c.seen
			if c.seen >= limit {
				break
			}
			x.batch.Delete(storeCommands, rows.Key())
			x.forget(c.ID, place)
			x.batch.Delete(storeAggregates, appendPlace(appendName(nil, string(c.Key)), place))
			if c.Tag != "" {
				x.batch.Delete(storeTags, appendPlace(appendName(nil, c.Tag), place))
			}
			to = place.Offset + 1
		}
		if err := rows.Close(); err != nil {
			return nil, err
		}
		if to == from.offset {
			continue
		}
		if err := x.expireEntries(partition, from.offset, to); err != nil {
			return nil, err
		}
		raised[partition] = floor{offset: to, since: from.since}
		x.batch.Put(storeFloors, floorKey(partition), appendFloor(nil, raised[partition]))
	}
	return raised, nil
}

func (x *index) expireEntries(partition int32, from, to int64) error {
	rows := x.engine.Range(storeEntries, appendPlace(nil, follow.Place{Partition: partition, Offset: from}),
		appendPlace(nil, follow.Place{Partition: partition, Offset: to}), false)
	defer rows.Close()
	for rows.Next() {
		e, err := parseEntry(rows.Key(), rows.Value())
		if err != nil {
			return err
		}
		x.batch.Delete(storeEntries, rows.Key())
		if x.entriesID {
			x.forget(e.Command, e.Cause)
		}
	}
	return rows.Err()
}

// forget makes a place unfindable by an id.
func (x *index) forget(id string, place follow.Place) {
	if id != "" {
		x.batch.Delete(storeIDs, appendPlace(appendName(nil, id), place))
	}
}

func (x *index) floor(partition int32) floor {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.floors[partition]
}

func floorKey(partition int32) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(partition))
}

func appendFloor(dst []byte, f floor) []byte {
	dst = binary.AppendVarint(append(dst, rowVersion), f.offset)
	return binary.AppendVarint(dst, f.since)
}

func parseFloor(data []byte) (floor, error) {
	r := row{data: data}
	r.version()
	f := floor{offset: r.number(), since: r.number()}
	return f, r.end("a floor")
}

// clock is the message time of one partition of commands: the lowest of the last few timestamps, so that no single
// command from the future moves it, never beyond the machine's clock, which bounds how long rows can be kept, and
// never backwards.
type clock struct {
	now   int64
	front int64 // at most the time of the oldest row
	last  [16]int64
	next  int
	full  bool
}

// tick takes in a timestamp and returns the time.
func (c *clock) tick(timestamp, machine int64) int64 {
	c.last[c.next] = timestamp
	c.next = (c.next + 1) % len(c.last)
	c.full = c.full || c.next == 0
	known := c.last[:]
	if !c.full {
		known = c.last[:c.next]
	}
	lowest := min(timestamp, machine)
	for _, t := range known {
		lowest = min(lowest, t)
	}
	c.now = max(c.now, lowest)
	return c.now
}
