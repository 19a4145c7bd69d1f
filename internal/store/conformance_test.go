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

func TestLevelDBWithTinyBuffers(t *testing.T) {
	storetest.Conform(t, openTiny)
	storetest.ConformDurable(t, openTiny)
}
