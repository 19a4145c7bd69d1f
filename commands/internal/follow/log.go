package follow

import (
	"context"
	"time"
)

// Log is what following needs of a log. All methods but Poll may be called from several goroutines.
type Log interface {
	// Topics returns the id and partition count of those of the named topics that exist.
	Topics(ctx context.Context, names []string) (map[string]Topic, error)
	// Offsets returns an offset for every partition of the topics.
	Offsets(ctx context.Context, at Bound, topics map[string]Topic) (Positions, error)
	// Newest returns the highest timestamp of a topic's records, in milliseconds since the epoch, and false if it has
	// none.
	Newest(ctx context.Context, name string, topic Topic) (milliseconds int64, found bool, err error)
	// Committed returns the offsets that a group has committed for a topic; a partition it never committed is absent.
	Committed(ctx context.Context, group, topic string) (map[int32]int64, error)
	// Open begins to read at the given positions: committed records only, markers included. Whoever got the Reader
	// closes it.
	Open(start Positions) (Reader, error)
}

// Reader reads several partitions from given positions on. It belongs to one goroutine.
type Reader interface {
	// Poll waits until there are records or ctx is done, and appends what there is to records, each partition in order.
	// An error means that reading must begin anew with another Reader; records that came with it count.
	Poll(ctx context.Context, records []Record) ([]Record, error)
	// Close releases what the reader holds.
	Close()
}

// Topic is what identifies a topic and bounds its partitions.
type Topic struct {
	ID         [16]byte
	Partitions int32
}

// Bound selects an offset of a partition.
type Bound struct {
	kind boundKind
	time int64
}

type boundKind uint8

const (
	boundEnd boundKind = iota
	boundStart
	boundTime
)

// End is the high-water mark: behind everything that was written, committed or not.
func End() Bound { return Bound{kind: boundEnd} }

// Start is the first offset that the log still has.
func Start() Bound { return Bound{kind: boundStart} }

// Since is the first record with a timestamp of at least that many milliseconds since the epoch, or the end.
func Since(milliseconds int64) Bound { return Bound{kind: boundTime, time: milliseconds} }

// IsEnd reports whether the bound is End.
func (b Bound) IsEnd() bool { return b.kind == boundEnd }

// IsStart reports whether the bound is Start.
func (b Bound) IsStart() bool { return b.kind == boundStart }

// Time returns Since's argument and whether the bound is one.
func (b Bound) Time() (milliseconds int64, ok bool) { return b.time, b.kind == boundTime }

// Partition names one partition of one topic.
type Partition struct {
	Topic     string
	Partition int32
}

// Positions are next offsets to read.
type Positions map[Partition]int64

// Index keeps what was read. Apply is called by one goroutine; the others by any.
type Index interface {
	// Open tells the index which topics it is about and asks where to go on reading: one position for every partition
	// of every topic that it wants to be given. What the index cannot believe (another topic id, an offset beyond the
	// end) it throws away.
	Open(ctx context.Context, opening Opening) (Positions, error)
	// Apply takes in what was read, atomically, with the positions reached.
	Apply(batch *Batch) error
	// At returns the entries whose cause is that place, in the order of their topics and offsets.
	At(place Place) ([]Entry, error)
	// First returns the first command known under an id. For an index that does not see commands it is the first whose
	// entry was seen.
	First(id string) (Place, bool, error)
	// Covers reports whether nothing that the index was given for this place, or could have been given, is missing from
	// it: silence may be believed.
	Covers(place Place) bool
	// Commands reports whether the index sees commands, so that First is exact.
	Commands() bool
}

// Opening is what an index may know when reading begins.
type Opening struct {
	// Log is there to be asked.
	Log Log
	// Spec says what is followed.
	Spec *Topics
	// Topics are all followed topics by name.
	Topics map[string]Topic
	// Starts are the first offsets of all partitions. Ends are their high-water marks, the commands' taken after all
	// others: the outcome of a command at or beyond its end lies at or beyond the others' ends.
	Starts, Ends Positions
}

// Batch is what one poll gave.
type Batch struct {
	Commands  []Command
	Entries   []Entry
	Positions Positions // all partitions that moved
}

// Topics says what is followed and how to read it.
type Topics struct {
	// Commands is the topic of the commands, and Group the processor's consumer group that reads it.
	Commands string
	Group    string
	// Events, Rejections and DeadLetters are where outcomes are written.
	Events      []string
	Rejections  []string
	DeadLetters []string
	// EventID reads an event's own id; nil leaves it empty.
	EventID func(topic string, value []byte) string
	// CommandID reads the id of a command that has no header for it; nil leaves such a command without one.
	CommandID func(value []byte) string
	// Tag reads a second name, beside its key, out of a command's value, by which it can be found; nil or "" for none.
	Tag func(value []byte) string
}

// kinds returns what each outcome topic holds.
func (t *Topics) kinds() map[string]Kind {
	kinds := make(map[string]Kind)
	for _, name := range t.DeadLetters {
		kinds[name] = DeadLetter
	}
	for _, name := range t.Rejections {
		kinds[name] = Rejection
	}
	for _, name := range t.Events {
		kinds[name] = Event
	}
	return kinds
}

// Timing bounds how the follower waits. The zero value of a field means its default.
type Timing struct {
	// Call is the deadline of one question to the log; 5 s by default.
	Call time.Duration
	// Patience is how long the outcome of a retry is expected as a record before silence is looked into, and three
	// times that for any other command; 10 ms by default.
	Patience time.Duration
	// Poll and PollMost bound the pause between two looks at the group's offset; 1 ms and 50 ms by default.
	Poll, PollMost time.Duration
	// Retry is the pause before reading begins anew after an error; 200 ms by default, doubled up to 5 s.
	Retry time.Duration
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.Call, 5*time.Second)
	set(&t.Patience, 10*time.Millisecond)
	set(&t.Poll, time.Millisecond)
	set(&t.PollMost, 50*time.Millisecond)
	set(&t.Retry, 200*time.Millisecond)
	return t
}
