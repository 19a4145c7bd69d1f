package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Errors of this package.
var (
	// ErrTopicMissing means that a topic to follow does not exist.
	ErrTopicMissing = errors.New("topic does not exist")
	// ErrIndex means that what was read could not be kept; the index must be opened anew.
	ErrIndex = errors.New("keeping outcomes failed")
	// ErrOtherTopic means that a position belongs to a topic that is not followed.
	ErrOtherTopic = errors.New("the position is not one of the commands followed here")
	// ErrBeyond means that a position names a partition that the log does not have, or lies beyond its end.
	ErrBeyond = errors.New("the log has no such position")
)

// Follower reads outcomes into an Index and wakes whoever waits for one.
type Follower struct {
	spec    Topics
	kinds   map[string]Kind
	log     Log
	index   Index
	timing  Timing
	logger  *slog.Logger
	applied func(*Batch)  // metrics; may be nil
	kick    chan struct{} // capacity 1: the resolver has something new to look at

	mu        sync.Mutex
	positions Positions                      // guarded by mu
	ends      Positions                      // guarded by mu; where "caught up" is
	caughtUp  bool                           // guarded by mu
	settled   map[int32]int64                // guarded by mu; every command below has its outcome in the index, or silence
	highest   map[int32]int64                // guarded by mu; one above the highest cause seen
	moved     chan struct{}                  // guarded by mu; closed and replaced when positions move
	followed  map[string]Topic               // guarded by mu; as of when reading last began, replaced and never changed
	waits     map[Place][]*wait              // guarded by mu
	watches   map[string]map[*Watch]struct{} // guarded by mu
}

// wait is one who waits for the outcome of one command; guarded by Follower.mu but for wake.
type wait struct {
	place  Place
	wanted bool          // silence is to be looked into
	wake   chan struct{} // capacity 1
}

// Config makes a Follower.
type Config struct {
	// Spec says what is followed.
	Spec Topics
	// Log is read, Index filled.
	Log   Log
	Index Index
	// Timing bounds waits.
	Timing Timing
	// Logger hears of trouble; nil means slog.Default.
	Logger *slog.Logger
	// Applied, if set, sees every batch after the index has taken it, from the follower's goroutine.
	Applied func(*Batch)
}

// New returns a follower that reads once Run is called.
func New(config Config) *Follower {
	logger := config.Logger
	if logger == nil {
		logger = slog.Default()
	}
	return &Follower{
		spec: config.Spec, kinds: config.Spec.kinds(), log: config.Log, index: config.Index,
		timing: config.Timing.withDefaults(), logger: logger, applied: config.Applied,
		kick:      make(chan struct{}, 1),
		positions: Positions{}, settled: map[int32]int64{}, highest: map[int32]int64{}, moved: make(chan struct{}),
		waits: map[Place][]*wait{}, watches: map[string]map[*Watch]struct{}{},
	}
}

// Run follows until ctx is done, over broken connections and restarted brokers. It returns nil then, or an error that
// wraps ErrIndex.
func (f *Follower) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.resolve(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	pause := f.timing.Retry
	for {
		began := time.Now()
		err := f.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrIndex) {
			return err
		}
		if time.Since(began) > 10*time.Second {
			pause = f.timing.Retry
		}
		f.logger.Warn("following outcomes was interrupted and begins anew", "error", err, "pause", pause)
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// Check asks whether every topic exists, once.
func (f *Follower) Check(ctx context.Context) error {
	_, err := f.topics(ctx)
	return err
}

// CaughtUp reports whether everything that was in the log when reading last began has been read.
func (f *Follower) CaughtUp() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.caughtUp
}

// Lag returns how many records lay between the positions and the ends when reading last began, at most.
func (f *Follower) Lag() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lag int64
	for partition, end := range f.ends {
		if position, ok := f.positions[partition]; ok && end > position {
			lag += end - position
		}
	}
	return lag
}

func (f *Follower) topics(ctx context.Context) (map[string]Topic, error) {
	names := append(slices.Sorted(maps.Keys(f.kinds)), f.spec.Commands)
	ctx, cancel := context.WithTimeout(ctx, f.timing.Call)
	defer cancel()
	topics, err := f.log.Topics(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("asking for topics: %w", err)
	}
	var missing []error
	for _, name := range names {
		if _, ok := topics[name]; !ok {
			missing = append(missing, fmt.Errorf("%w: %s; create it, or correct its name in the configuration", ErrTopicMissing, name))
		}
	}
	return topics, errors.Join(missing...)
}

// session reads until something goes wrong.
func (f *Follower) session(ctx context.Context) error {
	opening, err := f.opening(ctx)
	if err != nil {
		return err
	}
	start, err := f.index.Open(ctx, opening)
	if err != nil {
		return fmt.Errorf("opening the index: %w", err)
	}
	reader, err := f.log.Open(start)
	if err != nil {
		return fmt.Errorf("opening the topics of outcomes: %w", err)
	}
	defer reader.Close()
	f.begin(start, opening)
	var records []Record
	batch := &Batch{Positions: Positions{}}
	for {
		clear(records)
		var broken error
		records, broken = reader.Poll(ctx, records[:0])
		if len(records) > 0 {
			f.decode(batch, records)
			if err := f.index.Apply(batch); err != nil {
				return fmt.Errorf("%w: %w", ErrIndex, err)
			}
			f.advance(batch)
			if f.applied != nil {
				f.applied(batch)
			}
		}
		if broken != nil {
			return fmt.Errorf("reading outcomes: %w", broken)
		}
	}
}

func (f *Follower) opening(ctx context.Context) (Opening, error) {
	topics, err := f.topics(ctx)
	if err != nil {
		return Opening{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*f.timing.Call)
	defer cancel()
	opening := Opening{Log: f.log, Spec: &f.spec, Topics: topics}
	if opening.Starts, err = f.log.Offsets(ctx, Start(), topics); err != nil {
		return Opening{}, fmt.Errorf("asking where the topics begin: %w", err)
	}
	commands := map[string]Topic{f.spec.Commands: topics[f.spec.Commands]}
	outcomes := maps.Clone(topics)
	delete(outcomes, f.spec.Commands)
	if opening.Ends, err = f.log.Offsets(ctx, End(), outcomes); err != nil {
		return Opening{}, fmt.Errorf("asking where the topics end: %w", err)
	}
	ends, err := f.log.Offsets(ctx, End(), commands)
	if err != nil {
		return Opening{}, fmt.Errorf("asking where the topic of commands ends: %w", err)
	}
	maps.Copy(opening.Ends, ends)
	return opening, nil
}

// decode fills batch from records. Empty slices of the last round are reused: an index copies what it keeps.
func (f *Follower) decode(batch *Batch, records []Record) {
	batch.Commands, batch.Entries = batch.Commands[:0], batch.Entries[:0]
	clear(batch.Positions)
	for i := range records {
		r := &records[i]
		batch.Positions[Partition{r.Topic, r.Partition}] = r.Offset + 1
		if r.Control {
			continue
		}
		if r.Topic == f.spec.Commands {
			batch.Commands = append(batch.Commands, f.spec.decodeCommand(r))
			continue
		}
		if entry, ok := f.spec.decodeEntry(f.kinds[r.Topic], r); ok {
			batch.Entries = append(batch.Entries, entry)
		}
	}
}

// begin takes over where the index stands. What was settled counts no longer if the index went back.
func (f *Follower) begin(start Positions, opening Opening) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for partition, position := range f.positions {
		if again, ok := start[partition]; !ok || again < position {
			clear(f.settled)
			clear(f.highest)
		}
	}
	f.positions = maps.Clone(start)
	f.ends = Positions{}
	for partition := range start {
		f.ends[partition] = opening.Ends[partition]
	}
	f.followed = opening.Topics
	f.caughtUp = reached(f.positions, f.ends)
	f.signal()
}

// advance makes a batch known to all who wait.
func (f *Follower) advance(batch *Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.positions, batch.Positions)
	if !f.caughtUp && reached(f.positions, f.ends) {
		f.caughtUp = true
	}
	for i := range batch.Entries {
		entry := &batch.Entries[i]
		f.highest[entry.Cause.Partition] = max(f.highest[entry.Cause.Partition], entry.Cause.Offset+1)
		for _, w := range f.waits[entry.Cause] {
			w.notify()
		}
	}
	f.notifyWatches(batch)
	f.signal()
	if len(batch.Entries) > 0 {
		f.stir()
	}
}

// signal wakes who waits for positions; called with mu held.
func (f *Follower) signal() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// stir makes the resolver look again soon.
func (f *Follower) stir() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (w *wait) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// reached reports whether positions are at or beyond the targets, of those partitions that are followed.
func reached(positions, targets Positions) bool {
	for partition, target := range targets {
		if position, followed := positions[partition]; followed && position < target {
			return false
		}
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
