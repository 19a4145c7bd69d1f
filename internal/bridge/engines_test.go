package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

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
		engine, err := e.open(number)
		if err != nil {
			t.Fatal(err)
		}
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
		engine, err := e.open(number)
		if err != nil {
			t.Fatal(err)
		}
		if kept := engine == before[number]; kept != (number == 0) {
			t.Errorf("engine %d: kept open: %t", number, kept)
		}
		if _, found, err := engine.Get("rows", []byte("k")); err != nil || found != (number != 2) {
			t.Errorf("engine %d: its row is found: %t, %v", number, found, err)
		}
	}
}
