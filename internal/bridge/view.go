package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The errors of views. They come wrapped with what was being done; test for them with errors.Is.
var (
	// ErrViewNotReady says that the partition asked for is not restored: the view is starting, stopped, or rebuilding
	// that partition. It passes by itself while the view runs.
	ErrViewNotReady = errors.New("the view is not restored yet")
	// ErrViewRunning says that Run was called while the view runs.
	ErrViewRunning = errors.New("the view is running already")
	// ErrNoChangelog says that the topic a view materialises does not exist.
	ErrNoChangelog = errors.New("the changelog topic does not exist")
	// ErrForeignToken says that a token names a place which this view's processor does not read.
	ErrForeignToken = errors.New("the token belongs to another application")
	// ErrNoGroup says that a token was presented to a view that does not know its processor's consumer group.
	ErrNoGroup = errors.New("the view does not know the consumer group of its processor, so it cannot follow tokens")
	// ErrViewConfig says that a ViewConfig cannot be used.
	ErrViewConfig = errors.New("invalid view configuration")
)

// errViewRestart ends a session because the topic is not the one it began with; Run begins another one.
var errViewRestart = errors.New("the changelog topic was created anew or has another number of partitions")

const (
	viewCheckInterval = time.Second            // between looks at the topic's id and its stable offsets
	viewStallInterval = 50 * time.Millisecond  // between looks for a partition that makes no progress
	viewStallAfter    = 100 * time.Millisecond // without progress below a known stable offset: ask the broker why
	viewCallTimeout   = 5 * time.Second        // of one call to the broker
	viewBackoffMin    = 25 * time.Millisecond
	viewBackoffMax    = 2 * time.Second
)

// ViewConfig says what a View materialises and where. Client, Open and Destroy are how it reaches the log and the disk.
type ViewConfig struct {
	// Name names the store, the consumer's client id and the log lines.
	Name string
	// Topic is the changelog to materialise.
	Topic string
	// Dir holds one directory a partition, named by its number.
	Dir string
	// Group is the consumer group of the processor that writes the changelog; empty when no token is to be followed.
	Group string
	// Partitioner says which part of a key decides its partition; nil is the whole key.
	Partitioner codecs.Partitioner
	// Counts are the kinds of prefixes under which rows are counted.
	Counts []codecs.Prefixer
	// Sources are the topics that the group reads: tokens of others are refused. Not empty where Group is set.
	Sources []string
	// Hops lead from the group to the changelog, where the group does not write it itself.
	Hops []ViewHop
	// Shared has the view hold the partitions that Hold names, instead of all.
	Shared bool
	// MaxAge bounds how long ago a local copy may have been level with the changelog to be believed: the changelog's
	// delete.retention.ms, less a margin. 0 reads the setting from the topic.
	MaxAge time.Duration
	// Client connects to the log with these options added to those of the configuration.
	Client func(options ...kgo.Opt) (*kgo.Client, error)
	// Open opens or creates the store in a directory; Destroy removes one.
	Open    func(dir string) (store.Engine, error)
	Destroy func(dir string) error
	// RecentBytes bounds the latest changes that are kept in memory for watches, over all partitions; 0 is 8 MiB.
	RecentBytes int
	// Logger gets what an operator should know; nil is slog's default.
	Logger *slog.Logger
	// Now is the wall clock, for the age of checkpoints only; nil is time.Now.
	Now func() time.Time
}

// View keeps local copies of all partitions of a changelog and follows it. Its reading methods are safe for concurrent
// use, before, during and after Run.
type View struct {
	config    ViewConfig
	log       *slog.Logger
	running   atomic.Bool
	ready     chan struct{} // closed when all partitions are restored for the first time
	once      sync.Once     // closes ready
	gate      *viewGate
	hub       *viewHub
	session   atomic.Pointer[viewSession] // the one that runs, if any
	holds     *viewHolds                  // of a shared view
	freshness *viewFresh
	assigned  atomic.Bool  // a shared view has been told what to hold
	contact   atomic.Int64 // when the brokers last answered, in nanoseconds since the epoch

	// partitions is replaced as a whole, by Run's goroutine only. Readers take it once per operation.
	partitions atomic.Pointer[[]*viewPartition]
}

// NewView returns a view that is not running. The error wraps ErrViewConfig and names every field that is wrong.
func NewView(config ViewConfig) (*View, error) {
	var problems []error
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"Name", config.Name == ""},
		{"Topic", config.Topic == ""},
		{"Dir", config.Dir == ""},
		{"Client", config.Client == nil},
		{"Open", config.Open == nil},
		{"Destroy", config.Destroy == nil},
	} {
		if field.missing {
			problems = append(problems, fmt.Errorf("field %s is not set", field.name))
		}
	}
	if config.Group != "" && len(config.Sources) == 0 {
		problems = append(problems, errors.New("field Group is set and Sources is empty: name the topics that the group reads"))
	}
	if len(config.Counts) > maxViewCounts {
		problems = append(problems, fmt.Errorf("field Counts has %d kinds of prefixes; at most %d are possible", len(config.Counts), maxViewCounts))
	}
	for i, hop := range config.Hops {
		if config.Group == "" || hop.Group == "" || len(hop.Topics) == 0 {
			problems = append(problems, fmt.Errorf("hop %d of field Hops: it needs topics and a group, and a Group before it", i))
		}
	}
	if config.MaxAge < 0 {
		problems = append(problems, fmt.Errorf("field MaxAge is %v; it must not be negative", config.MaxAge))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrViewConfig, err)
	}
	config.RecentBytes = cmp.Or(config.RecentBytes, viewRecentBytes)
	if config.Now == nil {
		config.Now = time.Now
	}
	v := &View{
		config: config,
		log:    cmp.Or(config.Logger, slog.Default()).With("view", config.Name, "changelog", config.Topic),
		ready:  make(chan struct{}),
		hub:    newViewHub(),
	}
	v.gate = newViewGate(v)
	v.holds = newViewHolds()
	v.freshness = newViewFresh(v)
	v.partitions.Store(&[]*viewPartition{})
	return v, nil
}

// Run follows the changelog until ctx ends, then closes the local copies and returns nil. It goes on by itself when the
// broker is away and when the topic is created anew. It returns an error for what only an operator can mend: a topic
// that does not exist at the start, a directory in use or of a newer format, credentials that are refused.
func (v *View) Run(ctx context.Context) error {
	if !v.running.CompareAndSwap(false, true) {
		return fmt.Errorf("running view %s: %w", v.config.Name, ErrViewRunning)
	}
	defer v.running.Store(false)
	defer v.closePartitions(0)
	v.hub.start()
	defer v.hub.stop()
	backoff := &viewBackoff{}
	started := false
	for ctx.Err() == nil {
		err := v.runSession(ctx, &started)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errViewRestart):
			v.log.Warn("the changelog was created anew; following the new one")
			backoff.Reset()
		case viewFatal(err) || (errors.Is(err, ErrNoChangelog) && !started):
			return fmt.Errorf("running view %s: %w", v.config.Name, err)
		default:
			v.log.Warn("the view lost the log and tries again", "error", err)
			if !viewSleep(ctx, backoff.Duration()) {
				return nil
			}
		}
	}
	return nil
}

// viewFatal reports whether trying again is of no use.
func viewFatal(err error) bool {
	for _, fatal := range []error{store.ErrLocked, store.ErrNewerFormat, store.ErrNotStore, store.ErrInvalid, ErrViewConfig} {
		if errors.Is(err, fatal) {
			return true
		}
	}
	return viewRefused(err)
}

// Ready returns a channel that is closed once every partition has been restored.
func (v *View) Ready() <-chan struct{} { return v.ready }

// Recovered reports whether every partition that is held is restored now: false before Ready, and while one is rebuilt.
func (v *View) Recovered() bool {
	partitions := *v.partitions.Load()
	for _, p := range partitions {
		if p.held.Load() && !p.ready.Load() {
			return false
		}
	}
	return len(partitions) > 0 && (!v.config.Shared || v.assigned.Load())
}

// Contact returns when the brokers last told where the changelog ends, which is asked for about every second. The zero
// of the epoch is never.
func (v *View) Contact() time.Time { return time.Unix(0, v.contact.Load()) }

// noteReady closes the ready channel when the last partition has been restored.
func (v *View) noteReady() {
	if v.Recovered() {
		v.once.Do(func() { close(v.ready) })
	}
}

// Partitions returns the number of partitions of the changelog, 0 before it is known.
func (v *View) Partitions() int32 { return int32(len(*v.partitions.Load())) }

// PartitionOf returns the partition on which a key's records are, -1 before the number of partitions is known.
func (v *View) PartitionOf(key []byte) int32 {
	if v.config.Partitioner != nil {
		var space [64]byte
		key = codecs.AppendPartitionKey(v.config.Partitioner, space[:0], key)
	}
	return partition.ForKey(key, v.Partitions())
}

// partition returns one partition, or nil.
func (v *View) partition(number int32) *viewPartition {
	partitions := *v.partitions.Load()
	if number < 0 || int(number) >= len(partitions) {
		return nil
	}
	return partitions[number]
}

// setPartitions makes the view have count partitions. Those it has keep their open stores.
func (v *View) setPartitions(count int) {
	v.closePartitions(count)
	partitions := slices.Clone(*v.partitions.Load())
	for i := len(partitions); i < count; i++ {
		p := newViewPartition(v, int32(i), count, filepath.Join(v.config.Dir, strconv.Itoa(i)))
		p.held.Store(!v.config.Shared)
		partitions = append(partitions, p)
	}
	if len(partitions) != len(*v.partitions.Load()) {
		v.partitions.Store(&partitions)
		v.hub.lose(-1)
	}
}

// closePartitions closes and forgets the partitions from the given one on.
func (v *View) closePartitions(from int) {
	partitions := *v.partitions.Load()
	if from >= len(partitions) {
		return
	}
	for _, p := range partitions[from:] {
		if err := p.close(); err != nil {
			v.log.Error("closing the local copy", "partition", p.number, "error", err)
		}
	}
	kept := slices.Clone(partitions[:from])
	v.partitions.Store(&kept)
}

// viewBackoff spaces attempts 25 ms to 2 s apart. It is safe for concurrent use: goka resets it from a timer.
type viewBackoff struct {
	mu   sync.Mutex
	next time.Duration // guarded by mu
}

// Duration returns how long to wait before the next attempt, twice as long as the last time.
func (b *viewBackoff) Duration() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = min(max(b.next, viewBackoffMin), viewBackoffMax)
	wait := b.next
	b.next *= 2
	return wait
}

// Reset begins with the shortest wait again.
func (b *viewBackoff) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = 0
}

// viewSleep waits and reports whether ctx is still alive.
func viewSleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
