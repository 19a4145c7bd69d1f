package bridge_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

// TestViewWatchNeverGoesBack sees a feed begin anew at an earlier position while its watches are not told yet: the position
// that a client gets with a heartbeat is still that of what it was told.
func TestViewWatchNeverGoesBack(t *testing.T) {
	test := newViewTest(t, kafkatest.Embedded(t), 1)
	test.put(t, map[string]string{}, 0, 5, "a")
	view := test.restored(t)
	test.level(t)
	watch, err := view.Watch(t.Context(), bridge.ViewSelection{}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for whole := false; !whole; {
		events, err := watch.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		whole = events[len(events)-1].Kind == bridge.ViewWhole
		watch.AppendID(nil, events[len(events)-1])
	}
	before := viewWatchPosition(t, watch)
	view.RestartFeed(0, 1)
	for range 3 {
		beat := make(chan time.Time, 1)
		beat <- time.Now()
		if events, err := watch.Next(beat); err != nil || len(events) > 0 {
			t.Fatalf("%v, %v; want nothing but the beat", events, err)
		}
		if after := viewWatchPosition(t, watch); after != before {
			t.Errorf("it stood at %d, and after the feed began anew at %d", before, after)
		}
	}
}

// viewWatchPosition returns the position in the id of a watch of one partition that has few records: its last byte.
func viewWatchPosition(t *testing.T, watch *bridge.ViewWatch) byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(string(watch.AppendPosition(nil)))
	if err != nil {
		t.Fatal(err)
	}
	return raw[len(raw)-1]
}
