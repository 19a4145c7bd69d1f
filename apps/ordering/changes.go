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

// changeStream tells one client the changes of one customer's orders and totals, in one goroutine. While the client is written to,
// what changes is conflated by both views' watches.
type changeStream struct {
	q        *queried
	prefix   []byte // of the keys of all of the customer's rows
	snapshot bool   // the orders as they are come first
	send     views.Send

	buffer    []byte
	positions [followed]string // where to go on
	ready     [followed]bool
	placed    bool    // positions lead to a place for each view
	told      [3]bool // the buckets whose totals were told since the beginning or a reset
	reset     bool    // what was told counts no longer
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
	s := &changeStream{q: q, snapshot: snapshot != ""}
	s.prefix, _ = bucketKeys.Partition().Append(nil, a.customer) // an id that has passed isCustomerID can be encoded
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
			err = s.event(resetLines)
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
	return s.q.byTime.Watch(ctx, views.Watch[orderKey]{Prefix: s.prefix, After: s.positions[followsOrders], ChangesOnly: !s.snapshot})
}

// totals returns the watch of the customer's totals.
func (s *changeStream) totals(ctx context.Context) *views.Changes[bucketKey, Totals] {
	return s.q.totals.Watch(ctx, views.Watch[bucketKey]{Prefix: s.prefix, After: s.positions[followsTotals]})
}

// errReset ends the watches of a stream that is to begin anew.
var errReset = errors.New("what was told counts no longer")

// follow follows both views until one of the watches ends, and returns why it did; nil where the stream is to begin anew.
func (s *changeStream) follow(ctx context.Context) error {
	orders, totals := s.orders(ctx), s.totals(ctx)
	err := views.Together(heartbeat/2+rand.N(heartbeat/2), func() error {
		s.positions = [followed]string{orders.Position(), totals.Position()}
		return s.beat()
	}, orders.Telling(func(t views.Told[orderKey, Listed]) error {
		s.positions[followsOrders] = orders.Position()
		return tell(s, followsOrders, t, orderLines)
	}), totals.Telling(func(t views.Told[bucketKey, Totals]) error {
		s.positions[followsTotals] = totals.Position()
		if !s.placed {
			if err := s.note(t); err != nil {
				return err
			}
		}
		return tell(s, followsTotals, t, totalsLines)
	}))
	if errors.Is(err, errReset) {
		s.reset = true
		return nil
	}
	return err
}

// note notes that the totals of a bucket are about to be told.
func (s *changeStream) note(t views.Told[bucketKey, Totals]) error {
	row, err := t.Row()
	if at := slices.Index(buckets[:], row.Key.Sort); at >= 0 {
		s.told[at] = true
	}
	return err
}

// tell tells a change of one view.
func tell[K, V any](s *changeStream, which int, t views.Told[K, V], lines func(views.Change[K, V]) ([]byte, error)) error {
	switch t.Kind {
	case views.Ready:
		return s.whole(which)
	case views.Reset:
		return errReset
	}
	data, err := t.Rendered(&s.q.streams, lines)
	if err != nil {
		return err
	}
	return s.event(data)
}

// orderLines returns the lines of an order's event but for its id.
func orderLines(c views.Change[orderKey, Listed]) ([]byte, error) {
	if c.Kind == views.RowDeleted {
		return eventLines("removed", removedTold{c.Key.Sort.First, c.Key.Sort.Third})
	}
	return eventLines("order", orderTold{c.Key.Sort.First, listing{c.Key.Sort.Third, c.Value.Label, c.Value.Price, c.Value.PlacedAt}})
}

// totalsLines does it for totals. A row of them is never deleted: it comes down to 0.
func totalsLines(c views.Change[bucketKey, Totals]) ([]byte, error) {
	return eventLines("totals", totalsTold{c.Key.Sort, c.Value.Count, c.Value.Total})
}

// The lines of the events that say nothing but their name.
var (
	readyLines = []byte("event: ready\ndata: {}\n")
	resetLines = []byte("event: reset\ndata: {}\n")
)

func eventLines(name string, data any) ([]byte, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n", name, encoded), nil
}

// whole notes that one of the views is level with the log; with the other one the stream is.
func (s *changeStream) whole(which int) error {
	if s.ready[which] = true; !s.ready[followsOrders] || !s.ready[followsTotals] {
		return nil
	}
	if !s.placed {
		for at, bucket := range buckets {
			if s.told[at] {
				continue
			}
			lines, err := totalsLines(views.Change[bucketKey, Totals]{Key: bucketKey{Sort: bucket}})
			if err == nil {
				err = s.event(lines)
			}
			if err != nil {
				return err
			}
		}
	}
	s.placed = true
	if err := s.event(readyLines); err != nil {
		return err
	}
	return s.flush()
}

// beat keeps the connection alive, and the client's place near.
func (s *changeStream) beat() error {
	s.buffer = append(s.buffer, ":\n"...)
	if s.placed {
		s.buffer = append(s.appendID(s.buffer), '\n')
	}
	s.buffer = append(s.buffer, '\n')
	return s.flush()
}

// event appends an event to which its id is to be added, and sends what there is unless more is about to come.
func (s *changeStream) event(lines []byte) error {
	s.buffer = append(s.appendID(append(s.buffer, lines...)), "\n\n"...)
	if whole := s.ready[followsOrders] && s.ready[followsTotals]; whole || len(s.buffer) >= maxFlush {
		return s.flush()
	}
	return nil
}

// appendID appends the line that says where the client goes on when it comes back.
func (s *changeStream) appendID(dst []byte) []byte {
	if !s.placed {
		return append(append(dst, "id: "...), unplaced...)
	}
	return append(append(append(append(dst, "id: "...), s.positions[followsOrders]...), '.'), s.positions[followsTotals]...)
}

// flush writes to the client. One that does not take it in time is gone.
func (s *changeStream) flush() error {
	err := s.send(s.buffer)
	s.buffer = nil // thousands of streams are idle at any time
	return err
}
