package bridge_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/store"
)

// viewTestFaulty is an engine that fails on demand.
type viewTestFaulty struct {
	store.Engine
	full, corrupt *atomic.Bool
}

func (e viewTestFaulty) Apply(batch *store.Batch) error {
	if e.full.Load() {
		return fmt.Errorf("applying: %w", store.ErrDiskFull)
	}
	return e.Engine.Apply(batch)
}

func (e viewTestFaulty) Get(name string, key []byte) ([]byte, bool, error) {
	if e.corrupt.Load() {
		return nil, false, fmt.Errorf("getting: %w", store.ErrCorrupt)
	}
	return e.Engine.Get(name, key)
}

func TestViewGoesOnWhenTheDiskHasRoomAgain(t *testing.T) {
	test, model := newViewTest(t, kafkatest.Embedded(t), 1), map[string]string{}
	var full, corrupt atomic.Bool
	test.wrap = func(engine store.Engine) store.Engine { return viewTestFaulty{engine, &full, &corrupt} }
	test.put(t, model, 0, 10, "a")
	view := test.restored(t)
	full.Store(true)
	test.put(t, model, 5, 20, "b")
	end := test.broker.End(t, test.topic, 0, true)
	viewTestEventually(t, "the lag shows", func() bool { return view.Lag(0) > 0 })
	if value, _, _, _, err := view.Get([]byte("k5")); err == nil && string(value) != "a" {
		t.Errorf("k5 is %q, which cannot have been written", value)
	}
	full.Store(false)
	viewTestEventually(t, "the view is level", func() bool { return view.Position(0) >= end })
	test.want(t, model)
	if _, rebuilds := test.applied(); rebuilds != 0 {
		t.Errorf("%d copies were rebuilt, want none", rebuilds)
	}
}

func TestViewRebuildsWhatAReaderFindsCorrupt(t *testing.T) {
	test, model := newViewTest(t, kafkatest.Embedded(t), 1), map[string]string{}
	var full, corrupt atomic.Bool
	test.wrap = func(engine store.Engine) store.Engine { return viewTestFaulty{engine, &full, &corrupt} }
	test.put(t, model, 0, 10, "a")
	view := test.restored(t)
	corrupt.Store(true)
	if _, _, _, _, err := view.Get([]byte("k5")); !errors.Is(err, bridge.ErrViewNotReady) || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("reading what is corrupt: %v", err)
	}
	corrupt.Store(false)
	viewTestEventually(t, "the copy is rebuilt", func() bool {
		records, rebuilds := test.applied()
		return view.Recovered() && rebuilds == 1 && records == 20
	})
	test.want(t, model)
}

// An idle view stays believable: its checkpoint says that it was level lately, not when the last record came.
func TestViewRefreshesAnIdleCheckpoint(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 1), map[string]string{}
		var days atomic.Int64
		test.now = func() time.Time { return time.Now().Add(time.Duration(days.Load()) * 24 * time.Hour) }
		test.put(t, model, 0, 10, "a")
		test.restored(t)
		test.want(t, model)
		days.Store(5)
		seen := test.view.Contact()
		viewTestEventually(t, "two more checks are done", func() bool { return test.view.Contact().Sub(seen) > 2*time.Second })
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		days.Store(10)
		test.restored(t)
		test.want(t, model)
		if records, rebuilds := test.applied(); records != 0 || rebuilds != 0 {
			t.Errorf("%d records were applied and %d copies rebuilt, want none", records, rebuilds)
		}
	})
}
