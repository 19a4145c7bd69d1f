package storetest

import (
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

// LevelDB opens a LevelDB of a test's own, and closes it with the test.
func LevelDB(t testing.TB) store.Engine {
	t.Helper()
	engine, err := store.OpenLevelDB(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}
