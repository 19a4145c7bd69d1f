package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
)

// engines are the stores of a processor's partitions, opened on first use and kept open between sessions: a partition that
// comes back needs only what was written meanwhile. One goroutine at a time uses them, but for what they hand out.
type engines struct {
	dir     string
	options store.Options
	sets    map[string]store.Set
	logger  *slog.Logger
	opened  map[int32]*watchedEngine
	early   map[int32]*opening // by begin, until the first session has taken what it needs
}

// opening is a store that is being opened. Its engine and error are there once done is closed.
type opening struct {
	engine *watchedEngine
	err    error
	done   chan struct{}
}

func newEngines(dir string, options store.Options, stores []*graph.Store, logger *slog.Logger) *engines {
	e := &engines{dir: dir, options: options, sets: map[string]store.Set{}, logger: logger, opened: map[int32]*watchedEngine{}}
	for _, spec := range stores {
		for _, derived := range spec.DerivedStores {
			if spec.DerivedExpiry != nil {
				e.sets[derived] = store.Set{Expiry: spec.DerivedExpiry}
			}
		}
	}
	return e
}

// begin opens the stores that an earlier process has left, while the group is joined: opening waits mostly for the disk. What
// the first session is not assigned is closed again.
func (e *engines) begin() {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return // there are none, or opening them will say what is wrong
	}
	var numbers []int32
	for _, entry := range entries {
		if number, err := strconv.ParseInt(entry.Name(), 10, 32); err == nil && number >= 0 && entry.IsDir() {
			numbers = append(numbers, int32(number))
		}
	}
	e.early = map[int32]*opening{}
	for _, number := range numbers {
		e.early[number] = e.start(number)
	}
}

// open returns the stores of the partitions, opened all at once. What is corrupt is removed, to be restored from the changelogs.
func (e *engines) open(numbers ...int32) ([]store.Engine, error) {
	started := map[int32]*opening{}
	for _, number := range numbers {
		if _, open := e.opened[number]; !open {
			started[number] = e.begun(number)
		}
	}
	err := e.closeEarly()
	for _, number := range numbers {
		if o := started[number]; o != nil {
			<-o.done
			if o.err == nil {
				e.opened[number] = o.engine
			}
			err = errors.Join(err, o.err)
		}
	}
	if err != nil {
		return nil, err
	}
	list := make([]store.Engine, len(numbers))
	for i, number := range numbers {
		list[i] = e.opened[number]
	}
	return list, nil
}

// begun returns the opening of a partition's stores, started now unless begin has done it. One that has failed is repeated.
func (e *engines) begun(number int32) *opening {
	if o, ok := e.early[number]; ok {
		delete(e.early, number)
		if <-o.done; o.err == nil {
			return o
		}
	}
	return e.start(number)
}

// closeEarly closes what begin has opened and nobody has asked for.
func (e *engines) closeEarly() error {
	var errs []error
	for number, o := range e.early {
		if <-o.done; o.err == nil {
			if err := o.engine.Close(); err != nil {
				errs = append(errs, fmt.Errorf("closing the stores of partition %d: %w", number, err))
			}
		}
	}
	e.early = nil
	return errors.Join(errs...)
}

func (e *engines) start(number int32) *opening {
	o := &opening{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.engine, o.err = e.openOne(number)
	}()
	return o
}

func (e *engines) openOne(number int32) (*watchedEngine, error) {
	dir := e.path(number)
	engine, err := e.openStore(dir)
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrOlderFormat) {
		if err := e.destroy(number, err); err != nil {
			return nil, err
		}
		engine, err = e.openStore(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the stores of partition %d: %w", number, err)
	}
	return &watchedEngine{Engine: engine}, nil
}

func (e *engines) openStore(dir string) (store.Engine, error) {
	options := e.options
	if options.MergeFiles == 0 {
		options.MergeFiles = mergeFiles
	}
	engine, err := store.OpenLevelDB(dir, options)
	if err != nil {
		return nil, err
	}
	return store.WithSets(store.WithDeferral(store.WithPresence(engine, presenceBytes)), e.sets)
}

// mergeFiles makes merges fewer than they are by default. That costs reads of rows that are in no cache, of which a processor
// makes few: the rows in use are cached, and of those that are not there the filters tell.
const mergeFiles = 12

// presenceBytes bounds the memory for the keys of each store of a partition: 16 MiB are enough for 8,000,000 keys.
const presenceBytes = 16 << 20

func (e *engines) path(number int32) string {
	return filepath.Join(e.dir, strconv.Itoa(int(number)))
}

func (e *engines) destroy(number int32, cause error) error {
	if errors.Is(cause, store.ErrOlderFormat) {
		e.logger.Info("the local state was written by an older version; rebuilding it from the changelog", "partition", number, "reason", cause)
	} else {
		e.logger.Warn("the local state is corrupt and will be restored from the changelog", "partition", number, "error", cause)
	}
	if err := store.Destroy(e.path(number)); err != nil {
		return fmt.Errorf("removing the state of partition %d, which cannot be used: %w", number, err)
	}
	return nil
}

// mend closes the stores that have failed since they were opened, and removes those that are corrupt. An engine refuses
// writes after a failed one, and damage in a file may be found long after opening.
func (e *engines) mend() error {
	var errs []error
	for number, engine := range e.opened {
		failure := engine.failure.Load()
		if failure == nil {
			continue
		}
		delete(e.opened, number)
		// What went wrong is known already; closing it may say so again.
		_ = engine.Close()
		if errors.Is(*failure, store.ErrCorrupt) {
			errs = append(errs, e.destroy(number, *failure))
		}
	}
	return errors.Join(errs...)
}

func (e *engines) close() error {
	errs := []error{e.closeEarly()}
	for number, engine := range e.opened {
		if err := engine.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the stores of partition %d: %w", number, err))
		}
	}
	clear(e.opened)
	return errors.Join(errs...)
}

// watchedEngine notes the first failure of an engine.
type watchedEngine struct {
	store.Engine
	failure atomic.Pointer[error]
}

func (w *watchedEngine) note(err error) error {
	if err != nil && !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrClosed) {
		w.failure.CompareAndSwap(nil, &err)
	}
	return err
}

// Get implements store.Engine.
func (w *watchedEngine) Get(name string, key []byte) ([]byte, bool, error) {
	value, found, err := w.Engine.Get(name, key)
	if err != nil {
		return nil, false, w.note(err)
	}
	return value, found, nil
}

// Range implements store.Engine.
func (w *watchedEngine) Range(name string, from, to []byte, descending bool) store.Iterator {
	return &watchedIterator{Iterator: w.Engine.Range(name, from, to, descending), engine: w}
}

// Apply implements store.Engine.
func (w *watchedEngine) Apply(batch *store.Batch) error { return w.note(w.Engine.Apply(batch)) }

// DeleteStore implements store.Engine.
func (w *watchedEngine) DeleteStore(name, changelog string) error {
	return w.note(w.Engine.DeleteStore(name, changelog))
}

// Defer implements store.Deferrer.
func (w *watchedEngine) Defer(bytes int) { store.Defer(w.Engine, bytes) }

type watchedIterator struct {
	store.Iterator
	engine *watchedEngine
}

// Err implements store.Iterator.
func (w *watchedIterator) Err() error { return w.engine.note(w.Iterator.Err()) }

// Close implements store.Iterator.
func (w *watchedIterator) Close() error { return w.engine.note(w.Iterator.Close()) }
