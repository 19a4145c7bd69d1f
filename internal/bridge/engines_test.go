package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
)

// TestEnginesAreMended: a failed engine is opened again, a corrupt one is emptied, the others stay open.
func TestEnginesAreMended(t *testing.T) {
	e := newEngines(t.TempDir(), store.Options{}, nil, slog.New(slog.DiscardHandler))
	defer func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	}()
	before := map[int32]store.Engine{}
	for number := range int32(3) {
		engine := openOne(t, e, number)
		batch := store.NewBatch()
		batch.Put("rows", []byte("k"), fmt.Append(nil, number))
		if err := engine.Apply(batch); err != nil {
			t.Fatal(err)
		}
		before[number] = engine
	}
	_ = e.opened[1].note(errors.New("input/output error"))
	_ = e.opened[2].note(fmt.Errorf("reading: %w", store.ErrCorrupt))
	_ = e.opened[0].note(store.ErrInvalid) // the caller's fault, not the engine's
	if err := e.mend(); err != nil {
		t.Fatal(err)
	}
	for number := range int32(3) {
		engine := openOne(t, e, number)
		if kept := engine == before[number]; kept != (number == 0) {
			t.Errorf("engine %d: kept open: %t", number, kept)
		}
		if _, found, err := engine.Get("rows", []byte("k")); err != nil || found != (number != 2) {
			t.Errorf("engine %d: its row is found: %t, %v", number, found, err)
		}
	}
}

// TestEnginesAreOpenedEarly: what an earlier process has left is opened before it is known which partitions are assigned, and
// closed again if they are not; what could not be opened then is tried again.
func TestEnginesAreOpenedEarly(t *testing.T) {
	dir := t.TempDir()
	e := newEngines(dir, store.Options{}, nil, slog.New(slog.DiscardHandler))
	if _, err := e.open(0, 1, 2); err != nil {
		t.Fatal(err)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	other, err := store.OpenLevelDB(e.path(1), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e.begin()
	<-e.early[1].done
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.open(0, 1); err != nil {
		t.Fatal(err)
	}
	if len(e.early) != 0 || len(e.opened) != 2 {
		t.Errorf("%d stores are open and %d are left over, want 2 and none", len(e.opened), len(e.early))
	}
	third, err := store.OpenLevelDB(e.path(2), store.Options{})
	if err != nil {
		t.Fatalf("a store that nobody asked for is not closed: %v", err)
	}
	if err := errors.Join(third.Close(), e.close()); err != nil {
		t.Fatal(err)
	}
	e.begin()
	if err := e.close(); err != nil {
		t.Errorf("closing before any session: %v", err)
	}
}

func openOne(t *testing.T, e *engines, number int32) store.Engine {
	t.Helper()
	opened, err := e.open(number)
	if err != nil {
		t.Fatal(err)
	}
	return opened[0]
}

// TestEnginesOfAnOlderFormat: state that an earlier version has written is rebuilt, and not called corrupt.
func TestEnginesOfAnOlderFormat(t *testing.T) {
	var told bytes.Buffer
	spec := &graph.Store{Name: "rows", DerivedStores: []string{"ids"}, DerivedExpiry: func([]byte) int64 { return 0 }}
	e := newEngines(t.TempDir(), store.Options{}, []*graph.Store{spec}, slog.New(slog.NewTextHandler(&told, nil)))
	before, err := store.OpenLevelDB(e.path(0), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	batch.Put("ids", []byte("a command's id"), []byte("row of its own"))
	batch.SetCheckpoint(store.Checkpoint{Changelog: "rows-changelog", Offset: 1})
	if err := errors.Join(before.Apply(batch), before.Close()); err != nil {
		t.Fatal(err)
	}
	engine := openOne(t, e, 0)
	if at, found := engine.Checkpoint("rows-changelog"); found {
		t.Errorf("its checkpoint is still there: %+v", at)
	}
	if text := told.String(); !strings.Contains(text, "written by an older version") || strings.Contains(text, "corrupt") {
		t.Errorf("the log says %q", text)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
}
