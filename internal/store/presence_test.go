package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counting counts the reads that reach an engine.
type counting struct {
	Engine
	reads atomic.Int64
}

func (c *counting) Get(store string, key []byte) ([]byte, bool, error) {
	c.reads.Add(1)
	return c.Engine.Get(store, key)
}

func presentEngine(base Engine, limit int) *filtered {
	engine := WithPresence(base, limit).(*filtered)
	engine.least = 10
	return engine
}

func putRows(t *testing.T, engine Engine, from, to int) {
	t.Helper()
	batch := NewBatch()
	for i := from; i < to; i++ {
		batch.Put("rows", fmt.Append(nil, i), fmt.Append(nil, "value of ", i))
	}
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
}

// awaitFilter reads absent keys until the store has its filter.
func awaitFilter(t *testing.T, engine *filtered) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if _, found, err := engine.Get("rows", []byte("absent")); found || err != nil {
			t.Fatal(found, err)
		}
		if p, _ := engine.of("rows"); p.filter.Load() != nil && p.filter.Load().ready.Load() {
			return
		}
	}
	t.Fatal("reads of absent keys have brought no filter")
}

// TestPresenceSparesReads reads what is there and what is not, with rows from before the filter and after it, over several of
// its parts.
func TestPresenceSparesReads(t *testing.T) {
	base := &counting{Engine: NewMemory()}
	engine := presentEngine(base, 1<<20)
	defer engine.Close()
	putRows(t, engine, 0, 2*firstKeys)
	awaitFilter(t, engine)
	putRows(t, engine, 2*firstKeys, 6*firstKeys)
	base.reads.Store(0)
	for i := range 12 * firstKeys {
		value, found, err := engine.Get("rows", fmt.Append(nil, i))
		if err != nil || found != (i < 6*firstKeys) || found && !bytes.Equal(value, fmt.Append(nil, "value of ", i)) {
			t.Fatalf("row %d: %q, %t, %v", i, value, found, err)
		}
	}
	if wrong := base.reads.Load() - 6*firstKeys; wrong > firstKeys/2 {
		t.Errorf("%d of %d reads of absent rows reached the base", wrong, 6*firstKeys)
	}
}

// TestPresenceGivesUp goes on without a filter where there are more keys than it may have memory for, in the scan or later.
func TestPresenceGivesUp(t *testing.T) {
	engine := presentEngine(NewMemory(), 10_000)
	defer engine.Close()
	putRows(t, engine, 0, firstKeys/2)
	awaitFilter(t, engine)
	putRows(t, engine, 0, 2*firstKeys)
	p, _ := engine.of("rows")
	if p.filter.Load() != nil {
		t.Error("the filter holds more keys than it has memory for")
	}
	for i := range 3 * firstKeys {
		if _, found, err := engine.Get("rows", fmt.Append(nil, i)); err != nil || found != (i < 2*firstKeys) {
			t.Fatalf("row %d: %t, %v", i, found, err)
		}
	}
	if p.filter.Load() != nil {
		t.Error("it was scanned again")
	}
}

// TestPresenceForgetsDeletedStores has no row hidden by what was known of a store before it was deleted.
func TestPresenceForgetsDeletedStores(t *testing.T) {
	engine := presentEngine(NewMemory(), 1<<20)
	defer engine.Close()
	putRows(t, engine, 0, 100)
	awaitFilter(t, engine)
	if err := engine.DeleteStore("rows", "changelog"); err != nil {
		t.Fatal(err)
	}
	putRows(t, engine, 100, 200)
	for round := range 2 {
		for i := range 300 {
			if _, found, err := engine.Get("rows", fmt.Append(nil, i)); err != nil || found != (i >= 100 && i < 200) {
				t.Fatalf("round %d, row %d: %t, %v", round, i, found, err)
			}
		}
		awaitFilter(t, engine)
	}
}

// TestPresenceWhileWriting reads from several goroutines what another one has written, while scans begin and stores are
// deleted: a row is found from the moment in which Apply has returned.
func TestPresenceWhileWriting(t *testing.T) {
	base, err := OpenLevelDB(t.TempDir()+"/store", Options{WriteBuffer: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	engine := presentEngine(base, 1<<20)
	var first, written atomic.Int64 // rows from first on, below written, are there
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for reader := range 3 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 7))
			for {
				select {
				case <-stop:
					return
				default:
				}
				low, high := first.Load(), written.Load()
				if high > low {
					i := low + random.Int64N(high-low)
					_, found, err := engine.Get("rows", fmt.Append(nil, i))
					if (err != nil || !found) && first.Load() <= i {
						t.Errorf("row %d of %d to %d: %t, %v", i, low, high, found, err)
						return
					}
				}
				if _, found, err := engine.Get("rows", fmt.Append(nil, -random.Int64N(1000)-1)); err != nil || found {
					t.Errorf("a row that was never written: %t, %v", found, err)
					return
				}
			}
		})
	}
	for round := range 12 {
		for range 20 {
			from := int(written.Load())
			putRows(t, engine, from, from+37)
			written.Store(int64(from + 37))
		}
		if round%4 == 3 {
			first.Store(written.Load())
			if err := engine.DeleteStore("rows", "changelog"); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	readers.Wait()
	if err := errors.Join(engine.Close(), engine.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := engine.Get("rows", []byte("1")); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
}
