package ordering

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/views"
)

// What a stream of changes is held to.
const (
	heartbeat = 15 * time.Second
	maxFlush  = 32 << 10
)

// unplaced is the id of an event before there is a place to go on from: a client that comes back with it gets a reset.
const unplaced = "0"

// The data of the stream's events.
type (
	orderTold struct {
		Bucket Bucket `json:"bucket"`
		listing
	}
	removedTold struct {
		Bucket  Bucket `json:"bucket"`
		OrderID string `json:"orderId"`
	}
	totalsTold struct {
		Bucket Bucket `json:"bucket"`
		Count  int64  `json:"count"`
		Total  Money  `json:"total"`
	}
)

// The two views that a stream follows.
const (
	followsOrders = iota
	followsTotals
	followed
)

// changeStream tells one client the changes of one customer's orders and totals. Two goroutines follow the two views; what they
// share is guarded by mu, which is held while the client is written to: where it is slow, both views' watches conflate.
type changeStream struct {
	q        *queried
	customer string
	snapshot bool // the orders as they are come first
	send     views.Send

	mu        sync.Mutex
	buffer    []byte           // guarded by mu
	positions [followed]string // guarded by mu: where to go on
	ready     [followed]bool   // guarded by mu
	placed    bool             // guarded by mu: positions lead to a place for each view
	told      [3]bool          // guarded by mu: the buckets whose totals were told since the beginning or a reset
	reset     bool             // guarded by mu: what was told counts no longer
}

// serveChanges answers GET /customers/{id}/changes.
func (q *queried) serveChanges(w http.ResponseWriter, r *http.Request, a asked) {
	err := a.only("snapshot", "token", "last-event-id")
	snapshot := a.query.Get("snapshot")
	if err == nil && snapshot != "" && snapshot != "orders" {
		err = fmt.Errorf("snapshot is %.40q; possible is orders, or to leave it out", snapshot)
	}
	if err != nil {
		views.Malformed(w, err.Error())
		return
	}
	s := &changeStream{q: q, customer: a.customer, snapshot: snapshot != ""}
	last := r.Header.Get(views.HeaderLastEventID)
	if last == "" {
		last = a.query.Get("last-event-id")
	}
	switch orders, totals, ok := strings.Cut(last, "."); {
	case last == "":
	case ok && orders != "" && totals != "":
		s.positions, s.placed = [followed]string{orders, totals}, true
	case last == unplaced:
		s.reset = true
	default:
		err = errors.New("it does not have two parts")
	}
	if err == nil {
		err = errors.Join(s.orders(r.Context()).Err(), s.totals(r.Context()).Err())
	}
	if err != nil {
		views.Malformed(w, fmt.Sprintf("%s is not the id of one of this stream's events: %v; connect without it to begin anew", views.HeaderLastEventID, err))
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		return
	}
	q.streams.Serve(w, r, s.serve)
}

// serve writes until the client is gone or too slow, the views stop, or the customer's partition goes elsewhere.
func (s *changeStream) serve(ctx context.Context, send views.Send) (err error) {
	s.send = send
	for err == nil && ctx.Err() == nil {
		if s.reset {
			s.reset, s.placed, s.positions = false, false, [followed]string{}
			s.ready, s.told = [followed]bool{}, [3]bool{}
			err = s.event("reset", struct{}{})
		}
		if err == nil {
			err = s.follow(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.q.config.Logger.Debug("a stream of changes has ended", "error", err)
	}
	return err
}

// orders returns the watch of the customer's orders.
func (s *changeStream) orders(ctx context.Context) *views.Changes[orderKey, Listed] {
	return s.q.byTime.Watch(ctx, views.Watch[orderKey]{
		Prefix: s.prefix(), After: s.positions[followsOrders], ChangesOnly: !s.snapshot, Beat: heartbeat/2 + rand.N(heartbeat/2),
	})
}

// totals returns the watch of the customer's totals.
func (s *changeStream) totals(ctx context.Context) *views.Changes[bucketKey, Totals] {
	return s.q.totals.Watch(ctx, views.Watch[bucketKey]{
		Prefix: s.prefix(), After: s.positions[followsTotals], Beat: heartbeat/2 + rand.N(heartbeat/2),
	})
}

// prefix is how the keys of all of the customer's rows begin.
func (s *changeStream) prefix() []byte {
	// A customer's id that has passed isText can be encoded.
	prefix, _ := bucketKeys.Partition().Append(nil, s.customer)
	return prefix
}

// follow follows both views until one of the watches ends, and returns why it did; nil where the stream is to begin anew.
func (s *changeStream) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	totals, orders := s.totals(ctx), s.orders(ctx)
	wait.Go(func() {
		cancel(tell(s, followsTotals, totals, func(c views.Change[bucketKey, Totals]) error {
			// A row of totals is never deleted: it comes down to 0.
			if at := slices.Index(buckets[:], c.Key.Sort); at >= 0 {
				s.told[at] = true
			}
			return s.event("totals", totalsTold{c.Key.Sort, c.Value.Count, c.Value.Total})
		}))
	})
	cancel(tell(s, followsOrders, orders, func(c views.Change[orderKey, Listed]) error {
		if c.Kind == views.RowDeleted {
			return s.event("removed", removedTold{c.Key.Sort.First, c.Key.Sort.Third})
		}
		return s.event("order", orderTold{c.Key.Sort.First, listing{c.Key.Sort.Third, c.Value.Label, c.Value.Price, c.Value.PlacedAt}})
	}))
	wait.Wait()
	if s.reset {
		return nil
	}
	return context.Cause(ctx)
}

// tell tells the changes of one view, row those of rows. It returns what ended them.
func tell[K, V any](s *changeStream, which int, changes *views.Changes[K, V], row func(views.Change[K, V]) error) (err error) {
	for change := range changes.All() {
		s.mu.Lock()
		s.positions[which] = changes.Position()
		switch change.Kind {
		case views.RowPresent, views.RowDeleted:
			err = row(change)
		case views.Ready:
			err = s.whole(which)
		case views.Beat:
			if which == followsOrders { // one of the two is enough to keep the connection
				err = s.beat()
			}
		case views.Reset:
			s.reset = true
		}
		over := err != nil || s.reset
		s.mu.Unlock()
		if over {
			return err
		}
	}
	return changes.Err()
}

// whole notes that one of the views is level with the log; with the other one the stream is. The caller holds mu.
func (s *changeStream) whole(which int) error {
	if s.ready[which] = true; !s.ready[followsOrders] || !s.ready[followsTotals] {
		return nil
	}
	if !s.placed {
		for at, bucket := range buckets {
			if s.told[at] {
				continue
			}
			if err := s.event("totals", totalsTold{Bucket: bucket}); err != nil {
				return err
			}
		}
	}
	s.placed = true
	if err := s.event("ready", struct{}{}); err != nil {
		return err
	}
	return s.flush()
}

// beat keeps the connection alive, and the client's place near. The caller holds mu.
func (s *changeStream) beat() error {
	s.buffer = append(s.buffer, ":\n"...)
	if s.placed {
		s.buffer = append(s.appendID(s.buffer), '\n')
	}
	s.buffer = append(s.buffer, '\n')
	return s.flush()
}

// event appends an event, and sends what there is unless more is about to come. The caller holds mu.
func (s *changeStream) event(name string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	s.buffer = append(append(s.buffer, "event: "...), name...)
	s.buffer = append(append(s.buffer, "\ndata: "...), encoded...)
	s.buffer = append(s.appendID(append(s.buffer, '\n')), "\n\n"...)
	if whole := s.ready[followsOrders] && s.ready[followsTotals]; whole || len(s.buffer) >= maxFlush {
		return s.flush()
	}
	return nil
}

// appendID appends the line that says where the client goes on when it comes back. The caller holds mu.
func (s *changeStream) appendID(dst []byte) []byte {
	if !s.placed {
		return append(append(dst, "id: "...), unplaced...)
	}
	return append(append(append(append(dst, "id: "...), s.positions[followsOrders]...), '.'), s.positions[followsTotals]...)
}

// flush writes to the client. One that does not take it in time is gone. The caller holds mu, or is alone.
func (s *changeStream) flush() error {
	err := s.send(s.buffer)
	s.buffer = nil // thousands of streams are idle at any time
	return err
}
