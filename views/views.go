// Package views materialises a table's changelog in local stores and answers queries about it.
//
// A view is a read side of its own: it needs the changelog topic and two codecs, and nothing from the processor that
// writes the changelog but its consumer group's name, and that only to follow position tokens. It may run in any number of
// processes; each has a full copy.
//
//	view, err := views.New(views.Config[string, Value]{
//		Name:       "values",
//		Changelog:  "calculator-values-changelog",
//		KeyCodec:   codecs.String(),
//		ValueCodec: codecs.JSON[Value](),
//		Dir:        "data/view",
//		Log:        views.LogConfig{Brokers: []string{"localhost:9092"}},
//	})
//	…
//	go view.Run(ctx)
//	value, found, err := view.Get(ctx, "3f2c")
//
// What is read is committed: records of open and aborted transactions are never seen. Rows and the changelog position
// they stand at are written as one, so that a view goes on after any kind of stop where it stood. A copy that cannot be
// trusted any more is rebuilt from the changelog; meanwhile reads of it fail with ErrNotReady and never answer wrongly.
//
// Keys are ordered by the bytes of their encoding, over all partitions together.
package views

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/token"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The errors of views. They come wrapped with what was being done; test for them with errors.Is.
var (
	// ErrNotReady says that what was asked for is not restored: the view is starting, stopped, or rebuilding.
	ErrNotReady = bridge.ErrViewNotReady
	// ErrRunning says that Run was called while the view runs.
	ErrRunning = bridge.ErrViewRunning
	// ErrNoChangelog says that the changelog topic does not exist.
	ErrNoChangelog = bridge.ErrNoChangelog
	// ErrForeignToken says that a token is not one of this view's processor.
	ErrForeignToken = bridge.ErrForeignToken
	// ErrNoProcessor says that a token was presented to a view that was not told its processor's group.
	ErrNoProcessor = bridge.ErrNoGroup
	// ErrConfig says that a Config cannot be used; the error names every field that is wrong.
	ErrConfig = bridge.ErrViewConfig
	// ErrCursor says that a cursor is malformed or belongs to another query.
	ErrCursor = errors.New("malformed cursor")
	// ErrDecode says that a record of the changelog is no encoding of the view's key or value type.
	ErrDecode = errors.New("the changelog does not decode")
)

// LogConfig says how to reach the brokers: addresses, TLS, SASL, time-outs.
type LogConfig = log.Config

// Token is the place of a command in the log, as the answer to the command told it.
type Token = token.Token

// ParseToken reads a token's text. The error says what is wrong with it.
func ParseToken(text string) (Token, error) { return token.Parse(text) }

// DefaultCacheBytes is what Config.CacheBytes stands for when it is 0.
const DefaultCacheBytes = 8 << 20

// Config says what a view materialises.
type Config[K, V any] struct {
	// Name names the view in its store, in metrics and in log lines. It must stay the same over restarts.
	Name string
	// Changelog is the topic of the table's changelog: "<application>-<store>-changelog".
	Changelog string
	// KeyCodec and ValueCodec are the codecs of the table. The value codec is used in its form for stores.
	KeyCodec   codecs.Codec[K]
	ValueCodec codecs.Codec[V]
	// Dir is the state directory, this view's own. It is created, and survives restarts.
	Dir string
	// Log says how to reach the brokers.
	Log LogConfig
	// Processor says who writes the changelog. Without it tokens are refused.
	Processor Processor
	// Sharing, where not nil, shares the view out over instances by partition; nil has the view hold all of them.
	Sharing *Sharing
	// Counts are the kinds of prefixes under which rows are counted as they come and go: Count of such a prefix, and of all
	// rows, then costs the same however many there are. A kind is the codec of the keys' first parts: that of a row's partition
	// (codecs.RowCodec.Partition), or of rows with the beginning of the sort key (codecs.Rows). Other kinds than at the last
	// start have the rows counted anew, before the view is ready.
	Counts []codecs.Prefixer
	// MaxAge bounds how long a view may have been away before its copy is rebuilt: deletions older than the
	// changelog's delete.retention.ms may be gone from it. 0 means that setting, read from the topic, less a tenth.
	MaxAge time.Duration
	// RecentBytes bounds the memory for the latest changes, over all partitions, which are kept once there was a watch: one
	// that comes back goes on from them. 0 means DefaultRecentBytes.
	RecentBytes int
	// CacheBytes bounds the memory for blocks read from the disk, over all partitions; 0 means DefaultCacheBytes.
	CacheBytes int
	// Logger gets what an operator should know; nil means slog's default.
	Logger *slog.Logger
	// Metrics, where not nil, has the view's metrics while Run runs.
	Metrics prometheus.Registerer
}

// Processor identifies the processor of a changelog, to follow position tokens.
type Processor struct {
	// Group is the processor's consumer group.
	Group string
	// Topics are the command topics that the group reads. Their partitions and the changelog's correspond, unless a hop
	// says otherwise.
	Topics []string
	// Then leads on to the changelog, where the group does not write it itself: an application that reads the other's
	// events, a repartition topic.
	Then []Hop
}

// Hop is a step on the way from a command to the changelog.
type Hop struct {
	// Topics were written by the group before, and are read by Group.
	Topics []string
	Group  string
	// Repartitioned says that the records of Topics are on other partitions than what they were made from, as those of a
	// repartition topic are.
	Repartitioned bool
}

// hops translates the hops for the bridge.
func (p Processor) hops() (hops []bridge.ViewHop) {
	for _, hop := range p.Then {
		hops = append(hops, bridge.ViewHop(hop))
	}
	return hops
}

// View is a materialised table. Its methods are safe for concurrent use.
type View[K, V any] struct {
	name    string
	keys    codecs.Codec[K]
	values  codecs.Codec[V]
	bridge  *bridge.View
	metrics *metrics
	sharing *Sharing // nil for a full copy
	log     *slog.Logger

	connections connections // of streams of changes
}

// New returns a view that does not run yet. The error wraps ErrConfig and names all that is wrong.
func New[K, V any](config Config[K, V]) (*View[K, V], error) {
	var problems []error
	if err := codecs.Check(config.KeyCodec); err != nil {
		problems = append(problems, fmt.Errorf("field KeyCodec: %w", err))
	}
	if err := codecs.Check(config.ValueCodec); err != nil {
		problems = append(problems, fmt.Errorf("field ValueCodec: %w", err))
	}
	for i, kind := range config.Counts {
		if err := checkKind(kind); err != nil {
			problems = append(problems, fmt.Errorf("field Counts, kind %d: %w", i+1, err))
		}
	}
	if err := config.Log.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("field Log: %w", err))
	}
	if config.CacheBytes < 0 {
		problems = append(problems, fmt.Errorf("field CacheBytes is %d; it must not be negative", config.CacheBytes))
	}
	if config.RecentBytes < 0 {
		problems = append(problems, fmt.Errorf("field RecentBytes is %d; it must not be negative", config.RecentBytes))
	}
	if config.CacheBytes == 0 {
		config.CacheBytes = DefaultCacheBytes
	}
	options := store.Options{Cache: store.NewCache(config.CacheBytes)}
	inner, err := bridge.NewView(bridge.ViewConfig{
		Name:        config.Name,
		Topic:       config.Changelog,
		Dir:         config.Dir,
		Group:       config.Processor.Group,
		Sources:     config.Processor.Topics,
		Hops:        config.Processor.hops(),
		Shared:      config.Sharing != nil,
		Partitioner: codecs.PartitionerOf(config.KeyCodec),
		Counts:      config.Counts,
		MaxAge:      config.MaxAge,
		Client:      clients(config.Log),
		Open:        func(dir string) (store.Engine, error) { return store.OpenLevelDB(dir, options) },
		Destroy:     store.Destroy,
		Logger:      config.Logger,

		RecentBytes: cmp.Or(config.RecentBytes, DefaultRecentBytes),
	})
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrConfig, config.Name, err)
	}
	if config.Sharing != nil {
		if err := config.Sharing.add(inner, config.Changelog); err != nil {
			return nil, fmt.Errorf("%w %q: %w", ErrConfig, config.Name, err)
		}
	}
	return &View[K, V]{
		name:    config.Name,
		keys:    config.KeyCodec,
		values:  codecs.ForStore(config.ValueCodec),
		bridge:  inner,
		sharing: config.Sharing,
		metrics: newMetrics(config.Name, inner, config.Metrics),
		log:     cmp.Or(config.Logger, slog.Default()),
	}, nil
}

// checkKind reports what is wrong with a kind of prefix.
func checkKind(kind codecs.Prefixer) error {
	if kind == nil {
		return fmt.Errorf("%w: nil", codecs.ErrInvalidCodec)
	}
	if checker, ok := kind.(codecs.Checker); ok {
		return checker.Check()
	}
	return nil
}

// clients returns how the view connects: as configured, with the view's options on top.
func clients(config log.Config) func(options ...kgo.Opt) (*kgo.Client, error) {
	return func(extra ...kgo.Opt) (*kgo.Client, error) {
		options, err := config.ClientOptions()
		if err != nil {
			return nil, err
		}
		return kgo.NewClient(append(options, extra...)...)
	}
}

// Name returns the view's name.
func (v *View[K, V]) Name() string { return v.name }

// Run follows the changelog until ctx ends, then closes the local copy and returns nil. It goes on by itself when brokers
// are away, and when the changelog is created anew. It returns an error for what only an operator can mend: a changelog
// that does not exist at the start, a directory in use, refused credentials. It may be called again afterwards.
func (v *View[K, V]) Run(ctx context.Context) error {
	unregister, err := v.metrics.register()
	if err != nil {
		return fmt.Errorf("registering the metrics of view %s: %w", v.name, err)
	}
	defer unregister()
	v.connections.begin()
	defer v.connections.end() // the bridge has ended the watches by then
	if v.sharing != nil {
		return v.sharing.run(ctx, v.bridge)
	}
	return v.bridge.Run(ctx)
}

// Ready returns a channel that is closed once the view has been restored.
func (v *View[K, V]) Ready() <-chan struct{} { return v.bridge.Ready() }

// Recovered reports whether the view is restored now: false before Ready, while a partition is rebuilt, and when stopped.
func (v *View[K, V]) Recovered() bool { return v.bridge.Recovered() }

// Await returns once whatever the command at the token's place has changed can be read. A command that was rejected or
// changed nothing has been passed just the same. The error wraps ErrForeignToken, ErrNoProcessor, ErrNotReady while the
// view does not know its partitions, or ctx's error.
func (v *View[K, V]) Await(ctx context.Context, t Token) error {
	started := time.Now()
	err := v.bridge.Await(ctx, t, reading(ctx)...)
	v.metrics.awaited(time.Since(started))
	return err
}

// Status says where one partition of a view stands. Offsets are of the changelog; markers and compacted records count.
type Status struct {
	Partition int32
	// Ready is whether the partition can be read.
	Ready bool
	// Position is the next offset to apply: every record below it can be read.
	Position int64
	// Lag is how many offsets the position is behind the last stable offset, which is looked up about every second
	// while the brokers can be reached.
	Lag int64
	// Restored and ToRestore are offsets of the restore that is running or was the last: done, and in total.
	Restored, ToRestore int64
	// Applied counts the records applied since the view was made.
	Applied uint64
	// Rebuilds counts how often the local copy was not believed since the view was made.
	Rebuilds uint64
}

// Status returns where the partitions stand, in the order of their numbers; nothing before they are known.
func (v *View[K, V]) Status() []Status {
	var all []Status
	for _, p := range v.bridge.Status(false) {
		all = append(all, Status{
			Partition: p.Partition, Ready: p.Ready, Position: p.Position, Lag: p.End - p.Position,
			Restored:  max(0, min(p.Position, p.RestoreEnd)-p.RestoreStart),
			ToRestore: max(0, p.RestoreEnd-p.RestoreStart),
			Applied:   p.Applied, Rebuilds: p.Rebuilds,
		})
	}
	return all
}

// Position returns the next offset to apply of one partition: every record below it can be read.
func (v *View[K, V]) Position(partition int32) int64 { return v.bridge.Position(partition) }

// Lag returns how many offsets the view is behind the changelog, over all partitions.
func (v *View[K, V]) Lag() int64 {
	lag := int64(0)
	for _, status := range v.Status() {
		lag += status.Lag
	}
	return lag
}

// Progress returns how many offsets of the changelog the restore has done, and how many it has to do in total.
func (v *View[K, V]) Progress() (restored, total int64) {
	for _, status := range v.Status() {
		restored += status.Restored
		total += status.ToRestore
	}
	return restored, total
}
