package storetest

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

// restart closes an engine and opens the one in the same directory.
func restart(t *testing.T, engine store.Engine, open Open, dir string) store.Engine {
	t.Helper()
	if err := engine.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return mustOpen(t, open, dir)
}

func reopen(t *testing.T, open Open) {
	dir := t.TempDir()
	engine := mustOpen(t, open, dir)
	engine = restart(t, engine, open, dir) // with nothing in it
	wantRows(t, engine, "values")
	wantCheckpoints(t, engine)
	apply(t, engine, func(batch *store.Batch) {
		batch.Put("values", []byte("a"), []byte("1"))
		batch.Put("values", nil, nil)
		batch.SetCheckpoint(checkpointOf("values-changelog", 7))
	})
	for range 3 {
		engine = restart(t, engine, open, dir)
		wantRows(t, engine, "values", row{"", ""}, row{"a", "1"})
		wantCheckpoints(t, engine, checkpointOf("values-changelog", 7))
	}
	apply(t, engine, func(batch *store.Batch) {
		batch.Delete("values", []byte("a"))
		batch.SetCheckpoint(checkpointOf("values-changelog", 8))
	})
	engine = restart(t, engine, open, dir)
	wantRows(t, engine, "values", row{"", ""})
	wantCheckpoints(t, engine, checkpointOf("values-changelog", 8))
}

func reopenDeleted(t *testing.T, open Open) {
	dir := t.TempDir()
	engine := mustOpen(t, open, dir)
	apply(t, engine, func(batch *store.Batch) {
		for i := range 20_000 {
			batch.Put("a", fmt.Append(nil, i), []byte("value"))
		}
		batch.Put("b", []byte("kept"), []byte("1"))
		batch.SetCheckpoint(checkpointOf("a-changelog", 1))
		batch.SetCheckpoint(checkpointOf("b-changelog", 1))
	})
	if err := engine.DeleteStore("a", "a-changelog"); err != nil {
		t.Fatal(err)
	}
	engine = restart(t, engine, open, dir)
	wantRows(t, engine, "a")
	wantRows(t, engine, "b", row{"kept", "1"})
	wantCheckpoints(t, engine, checkpointOf("b-changelog", 1))
	put(t, engine, "a", row{"again", "1"})
	engine = restart(t, engine, open, dir)
	wantRows(t, engine, "a", row{"again", "1"})
}

func reopenManyStores(t *testing.T, open Open) {
	dir := t.TempDir()
	engine := mustOpen(t, open, dir)
	const rounds, perRound = 5, 40
	for round := range rounds {
		for i := range perRound {
			name := fmt.Sprintf("store %d", round*perRound+i)
			put(t, engine, name, row{"name", name})
		}
		engine = restart(t, engine, open, dir)
		for i := range (round + 1) * perRound {
			name := fmt.Sprintf("store %d", i)
			wantRows(t, engine, name, row{"name", name})
		}
	}
}

func reopenModel(t *testing.T, open Open) {
	dir := t.TempDir()
	engine := mustOpen(t, open, dir)
	againstModel(t, engine, func() store.Engine {
		engine = restart(t, engine, open, dir)
		return engine
	})
}
