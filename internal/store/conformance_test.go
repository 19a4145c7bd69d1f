package store_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/store/storetest"
)

func openMemory(string) (store.Engine, error) { return store.NewMemory(), nil }

func openLevelDB(dir string) (store.Engine, error) { return store.OpenLevelDB(dir, store.Options{}) }

// openTiny opens a LevelDB so small that the suite's rows reach its files and are compacted.
func openTiny(dir string) (store.Engine, error) {
	return store.OpenLevelDB(dir, store.Options{WriteBuffer: 16 << 10, Cache: store.NewCache(16 << 10), OpenFiles: 4})
}

func TestMemory(t *testing.T) { storetest.Conform(t, openMemory) }

func TestLevelDB(t *testing.T) {
	storetest.Conform(t, openLevelDB)
	storetest.ConformDurable(t, openLevelDB)
}

// openDeferred opens one whose batches wait in memory, up to so many bytes.
func openDeferred(bytes int) storetest.Open {
	return func(dir string) (store.Engine, error) {
		engine, err := store.OpenLevelDB(dir, store.Options{})
		if err != nil {
			return nil, err
		}
		engine = store.WithDeferral(engine)
		store.Defer(engine, bytes)
		return engine, nil
	}
}

func TestDeferred(t *testing.T) {
	for name, bytes := range map[string]int{"none": 0, "1 byte": 1, "10 kB": 10_000, "10 MB": 10_000_000} {
		t.Run(name, func(t *testing.T) {
			storetest.Conform(t, openDeferred(bytes))
			storetest.ConformDurable(t, openDeferred(bytes))
		})
	}
}

func TestPresence(t *testing.T) {
	open := func(dir string) (store.Engine, error) {
		engine, err := store.OpenLevelDB(dir, store.Options{})
		if err != nil {
			return nil, err
		}
		return store.WithPresence(engine, 1<<20), nil
	}
	storetest.Conform(t, open)
	storetest.ConformDurable(t, open)
}

func TestLevelDBWithTinyBuffers(t *testing.T) {
	storetest.Conform(t, openTiny)
	storetest.ConformDurable(t, openTiny)
}
