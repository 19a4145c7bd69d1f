package views_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/internal/webtest"
	"github.com/tidemill/tidemill/views"
)

// event is one server-sent event; an id alone has no name.
type event struct{ name, data, id string }

// connection reads a stream of events.
type connection struct{ *webtest.Events }

// connect opens a stream. The context's end is the connection's.
func connect(ctx context.Context, url, last string) (*connection, error) {
	events, err := webtest.Follow(ctx, url, last)
	if err != nil {
		return nil, err
	}
	return &connection{events}, nil
}

// next returns the next event, or an id that came with a heartbeat.
func (c *connection) next() (event, error) {
	for {
		e, err := c.Next()
		if err != nil || e.Name != "" || e.ID != "" {
			return event{e.Name, e.Data, e.ID}, err
		}
	}
}

// must returns the next event of a test's only connection.
func (c *connection) must(t *testing.T) event {
	t.Helper()
	for {
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.name != "" {
			return e
		}
	}
}

// follow opens a stream for the test's duration.
func follow(t *testing.T, url, last string) *connection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, err := connect(ctx, url, last)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// told is a row as a stream tells it.
type told struct {
	ID    string  `json:"value_id"`
	Key   string  `json:"key"`
	Value float64 `json:"value"`
}

func (e event) told(t testing.TB) told {
	t.Helper()
	var row told
	if err := json.Unmarshal([]byte(e.data), &row); err != nil {
		t.Errorf("%+v: %v", e, err)
	}
	return row
}

// serve serves the view's handler over HTTP.
func (f *fixture) serve(t testing.TB, config views.HTTP[string, amount]) string {
	t.Helper()
	handler, err := f.view.Handler(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		f.view.EndWatches()
		server.Close()
	})
	return server.URL
}

// positions reads what a position says: by part, the next offset.
func positions(t testing.TB, id string) []int64 {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) < 11 {
		t.Errorf("the id %q is no position: %v", id, err)
		return nil
	}
	rest, all := raw[9:], []int64(nil)
	for len(rest) > 0 {
		value, size := binary.Uvarint(rest)
		all, rest = append(all, int64(value)), rest[max(size, 1):]
	}
	return all[1:]
}

// history is what was written to a changelog, by partition and offset.
type history struct {
	mu         sync.Mutex
	partitions [][]written // guarded by mu
}

type written struct {
	offset int64
	key    string
	value  float64
	gone   bool
}

// note adds a record that was written and committed. The caller holds mu, since before writing.
func (h *history) note(partition int32, w written) {
	for int(partition) >= len(h.partitions) {
		h.partitions = append(h.partitions, nil)
	}
	h.partitions[partition] = append(h.partitions[partition], w)
}

// at returns the rows that a selection had at a position. It waits for the writer to note what it wrote.
func (h *history) at(selects func(string) bool, parts []int32, positions []int64) map[string]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows := make(map[string]float64)
	for i, partition := range parts {
		if int(partition) >= len(h.partitions) {
			continue
		}
		for _, w := range h.partitions[partition] {
			switch {
			case w.offset >= positions[i] || !selects(w.key):
			case w.gone:
				delete(rows, w.key)
			default:
				rows[w.key] = w.value
			}
		}
	}
	return rows
}

// all returns the rows at the end.
func (h *history) all(selects func(string) bool, parts []int32) map[string]float64 {
	ends := make([]int64, len(parts))
	for i := range ends {
		ends[i] = 1 << 62
	}
	return h.at(selects, parts, ends)
}

// fold is what a client makes of what it is told.
type fold struct {
	rows map[string]float64
	seen map[string]float64 // the latest value told of a key, also of one that was deleted since
}

func newFold() *fold { return &fold{rows: make(map[string]float64), seen: make(map[string]float64)} }

// put takes in a row. Values grow with each write, so that one told twice or out of order shows.
func (f *fold) put(key string, value float64) error {
	if last, found := f.seen[key]; found && value <= last {
		return fmt.Errorf("%q was told to be %v after %v", key, value, last)
	}
	f.rows[key], f.seen[key] = value, value
	return nil
}

func (f *fold) is(want map[string]float64) bool { return maps.Equal(f.rows, want) }
