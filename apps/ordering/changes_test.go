package ordering_test

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/ordering/orderingtest"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/webtest"
)

// The stream of one customer: totals, ready, what is placed and cancelled, and the way back after an event.
func TestChanges(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		c := config(t, broker.Broker)
		commands, queries := startService(t, ordering.CommandService, c), startService(t, ordering.QueryService, c)
		place := func(customer, id, price string) {
			t.Helper()
			text := fmt.Sprintf(`{"orderId":%q,"customerId":%q,"itemLabel":"Tea","itemPrice":%s}`, id, customer, price)
			if got := commands.ask(http.MethodPost, "/orders", text, "Prefer", "wait=20"); got.status != http.StatusCreated {
				t.Fatalf("%s: %d, %s", text, got.status, got.body)
			}
		}
		alice := queries.stream("/customers/alice/changes")
		tells(t, alice, `totals {"bucket":"CHEAP","count":0,"total":0.00}`, `totals {"bucket":"AFFORDABLE","count":0,"total":0.00}`,
			`totals {"bucket":"EXPENSIVE","count":0,"total":0.00}`)
		ready := tells(t, alice, "ready {}")
		place("bob", "b1", "1")
		place("alice", "a1", "4.99")
		first := tells(t, alice, `order {"bucket":"CHEAP","orderId":"a1","itemLabel":"Tea","itemPrice":4.99,"placedAt":N}`,
			`totals {"bucket":"CHEAP","count":1,"total":4.99}`)
		place("alice", "a2", "50.00")
		tells(t, alice, `order {"bucket":"AFFORDABLE","orderId":"a2","itemLabel":"Tea","itemPrice":50.00,"placedAt":N}`,
			`totals {"bucket":"AFFORDABLE","count":1,"total":50.00}`)
		if got := commands.ask(http.MethodDelete, "/orders/a1", "", "Prefer", "wait=20"); got.status != http.StatusOK {
			t.Fatalf("cancelling: %d, %s", got.status, got.body)
		}
		tells(t, alice, `removed {"bucket":"CHEAP","orderId":"a1"}`, `totals {"bucket":"CHEAP","count":0,"total":0.00}`)
		// Later comers are told the totals, and on request the orders first.
		tells(t, queries.stream("/customers/alice/changes?snapshot=orders"),
			`order {"bucket":"AFFORDABLE","orderId":"a2","itemLabel":"Tea","itemPrice":50.00,"placedAt":N}`,
			`totals {"bucket":"AFFORDABLE","count":1,"total":50.00}`, `totals {"bucket":"CHEAP","count":0,"total":0.00}`,
			`totals {"bucket":"EXPENSIVE","count":0,"total":0.00}`)
		if got := next(t, queries.stream("/customers/alice/changes")); got.Name != "totals" {
			t.Errorf("without a snapshot the stream begins with %+v", got)
		}
		later := []string{
			`order {"bucket":"AFFORDABLE","orderId":"a2","itemLabel":"Tea","itemPrice":50.00,"placedAt":N}`, `totals {"bucket":"AFFORDABLE","count":1,"total":50.00}`,
			`removed {"bucket":"CHEAP","orderId":"a1"}`, `totals {"bucket":"CHEAP","count":0,"total":0.00}`, `ready {}`,
		}
		again := func(s *running) {
			t.Helper()
			tells(t, s.stream("/customers/alice/changes", "Last-Event-ID", first.ID), later...)
			tells(t, s.stream("/customers/alice/changes?last-event-id="+first.ID), later...)
			if got := next(t, s.stream("/customers/alice/changes", "Last-Event-ID", "0")); got.Name != "reset" || got.Data != "{}" {
				t.Errorf("after an event before ready: %+v", got)
			}
		}
		again(queries)
		if got := queries.ask(http.MethodGet, "/customers/bob/changes", "", "Last-Event-ID", ready.ID); got.status != http.StatusBadRequest {
			t.Errorf("another customer's id: %d, %s", got.status, got.body)
		}
		// A stop ends the streams; the next process goes on after the same events.
		queries.stop()
		for open := true; open; _, open = <-alice {
		}
		again(startService(t, ordering.QueryService, c))
	})
}

// tells compares the next events, which come in any order, times left out, with what must come. It returns the last of them.
func tells(t *testing.T, events <-chan event, want ...string) (last event) {
	t.Helper()
	var texts []string
	for range want {
		last = next(t, events)
		text := last.Name + " " + last.Data
		if before, _, found := strings.Cut(text, `"placedAt":`); found {
			text = before + `"placedAt":N}`
		}
		texts = append(texts, text)
		if !slices.Contains(want, text) || last.ID == "" {
			t.Fatalf("told %q with the id %q; want %q in any order", texts, last.ID, want)
		}
	}
	if slices.Sort(texts); !slices.Equal(texts, slices.Sorted(slices.Values(want))) {
		t.Fatalf("told %q, want %q", texts, want)
	}
	return last
}

// folded is what a client makes of the stream of one customer's changes, over any number of connections.
type folded struct {
	customer string
	end      context.CancelFunc
	ended    chan struct{}

	mu     sync.Mutex
	orders map[string]listing // guarded by mu: by bucket and id
	totals map[string]page    // guarded by mu: by bucket
	ready  bool               // guarded by mu
	last   string             // guarded by mu
	opened int                // guarded by mu
	resets int                // guarded by mu
}

// fold follows a customer's stream at one address after the other, hanging up after so many events each time, for the
// duration of the test.
func fold(t *testing.T, customer string, events int, bases ...string) *folded {
	ctx, cancel := context.WithCancel(context.Background())
	f := &folded{customer: customer, end: cancel, ended: make(chan struct{}), orders: map[string]listing{}, totals: map[string]page{}}
	go func() {
		defer close(f.ended)
		for attempt := 0; ctx.Err() == nil; attempt++ {
			if err := f.connect(ctx, bases[attempt%len(bases)], events); err != nil && ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond) // an instance is away; the next one may not be
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-f.ended })
	return f
}

func (f *folded) connect(ctx context.Context, base string, events int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	last := f.last
	f.opened++
	f.mu.Unlock()
	stream, err := webtest.Follow(ctx, base+"/customers/"+f.customer+"/changes?snapshot=orders", last)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		got, err := stream.Next()
		if err == nil {
			err = f.take(got)
		}
		if err != nil {
			return err
		}
		if got.Name != "" {
			events--
		}
		if events == 0 {
			return nil
		}
	}
}

func (f *folded) take(e event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var data struct {
		listing
		Bucket string         `json:"bucket"`
		Count  int            `json:"count"`
		Total  ordering.Money `json:"total"`
	}
	if e.Data != "" {
		if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
			return err
		}
	}
	switch e.Name {
	case "order":
		f.orders[data.Bucket+" "+data.OrderID] = data.listing
	case "removed":
		delete(f.orders, data.Bucket+" "+data.OrderID)
	case "totals":
		f.totals[data.Bucket] = page{Count: data.Count, Total: data.Total}
	case "ready":
		f.ready = true
	case "reset":
		f.orders, f.totals, f.ready = map[string]listing{}, map[string]page{}, false
		f.resets++
	}
	if e.ID != "" {
		f.last = e.ID
	}
	return nil
}

// is returns what the client has otherwise than the model.
func (f *folded) is(model *orderingtest.Model) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := map[string]listing{}
	for _, bucket := range buckets {
		var total ordering.Money
		listed := model.Listed(f.customer, bucket, false)
		for _, order := range listed {
			want[bucket+" "+order.OrderID] = listing{order.OrderID, order.ItemLabel, order.ItemPrice, order.PlacedAt}
			total += order.ItemPrice
		}
		if got := f.totals[bucket]; got.Count != len(listed) || got.Total != total {
			return fmt.Errorf("%s's %s were told to be %d for %s, want %d for %s", f.customer, bucket, got.Count, got.Total, len(listed), total)
		}
	}
	if !f.ready || !maps.Equal(f.orders, want) {
		return fmt.Errorf("%s's %d orders as told (ready: %t) are not the %d that there are", f.customer, len(f.orders), f.ready, len(want))
	}
	return nil
}
