package subscriptions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/problem"
)

// page bounds the outcomes of one write, and so what a slow reader holds in memory.
const page = 64

// maxCursor bounds the Last-Event-ID header, in bytes, and so the partitions in it.
const maxCursor = 8192

// errSlow ends a stream whose reader does not keep up.
var errSlow = errors.New("the reader is too slow")

// stream is one open stream; it belongs to its request's goroutine. It keeps no outcomes: it reads them from the store,
// as fast as its client reads them, so that a slow one costs nobody anything.
type stream struct {
	s         *Subscriptions
	w         http.ResponseWriter
	control   *http.ResponseController
	principal auth.Principal
	store     string // where the references lie
	name      string // of the command or aggregate
	watch     *follow.Watch
	at        cursor
	buffer    bytes.Buffer
}

// serveCommandStream answers GET /commands/{id}/outcomes.
func (s *Subscriptions) serveCommandStream(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if id == "" || len(id) > maxID {
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: "the id has no or too many characters"})
		return
	}
	s.serveStream(w, r, storeIDs, id, follow.CommandTopic(id))
}

// serveStreamOf answers GET /outcomes?aggregate=… and GET /outcomes?tag=….
func (s *Subscriptions) serveStreamOf(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if tags := query["tag"]; s.config.Tag != nil && !query.Has("aggregate") && len(tags) == 1 && tags[0] != "" {
		s.serveStream(w, r, storeTags, tags[0], follow.TagTopic(tags[0]))
		return
	}
	texts, ok := query["aggregate"]
	if !ok || len(texts) != 1 || texts[0] == "" || query.Has("tag") {
		detail := "say which aggregate, by ?aggregate= and its key"
		if s.config.Tag != nil {
			detail += ", or which tag, by ?tag="
		}
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: detail})
		return
	}
	key, err := s.config.AggregateKey(texts[0])
	if err != nil {
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: "the aggregate's key cannot be read: " + err.Error()})
		return
	}
	s.serveStream(w, r, storeAggregates, string(key), follow.AggregateTopic(key))
}

func (s *Subscriptions) serveStream(w http.ResponseWriter, r *http.Request, store, name, topic string) {
	principal, ok := auth.Check(w, r, s.config.Authorizer, s.config.Scopes...)
	if !ok {
		return
	}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		// For the first connection of a page that goes on where an earlier one ended: EventSource sets no header then.
		last = r.URL.Query().Get("last-event-id")
	}
	at, err := parseCursor(last)
	if err != nil {
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: "Last-Event-ID is not the id of one of our events: " + err.Error()})
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Detail: "there are too many streams open", RetryAfter: 5 * time.Second,
		})
		return
	}
	// Where the log cannot be asked, the client is believed: it loses nothing that is its own.
	if err := s.follower.Within(r.Context(), at); errors.Is(err, follow.ErrBeyond) {
		problem.Write(w, problem.Details{
			Status: http.StatusBadRequest, Detail: "Last-Event-ID is not the id of one of our events, or the topic was created anew: " + err.Error() + "; connect without it",
		})
		return
	}
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	x := &stream{
		s: s, w: w, control: http.NewResponseController(w), principal: principal, store: store, name: name, at: at,
		watch: s.follower.Watch(topic),
	}
	defer s.follower.Unwatch(x.watch)
	ctx, cancel := principal.Until(r.Context())
	defer cancel()
	x.serve(ctx)
}

// serve writes until the client goes, is too slow, or is to be asked again who it is, or the component stops.
func (x *stream) serve(ctx context.Context) {
	header := x.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies are not to gather events
	x.w.WriteHeader(http.StatusOK)
	x.buffer.WriteString("retry: 1000\n\n")
	err := x.flush()
	if err == nil {
		err = x.pump(ctx)
	}
	switch {
	case errors.Is(err, errSlow):
		x.s.metrics.slow.Inc()
		x.buffer.WriteString(": you read too slowly and are disconnected; go on by Last-Event-ID\n\n")
	case errors.Is(err, context.DeadlineExceeded):
		x.buffer.WriteString(": what this stream was opened with has expired; go on by Last-Event-ID, with something newer\n\n")
	case errors.Is(err, errStopped):
		x.buffer.WriteString(": the server is shutting down; go on by Last-Event-ID\n\n")
	default:
		return // the client is gone, or the store failed and the client comes back
	}
	_ = x.flush() // a farewell: whether it arrives changes nothing
}

// errStopped ends the streams of a component that stops.
var errStopped = errors.New("the subscriptions stop")

func (x *stream) pump(ctx context.Context) error {
	heartbeat := time.NewTicker(x.s.config.Heartbeat)
	defer heartbeat.Stop()
	for {
		pending, more, err := x.collect()
		if err != nil {
			x.s.config.Logger.Error("outcomes could not be read for a stream", "error", err)
			return err
		}
		if err := x.flush(); err != nil {
			return err
		}
		if more {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-x.s.stopped:
				return errStopped
			default:
				continue
			}
		}
		if err := x.idle(ctx, pending, heartbeat.C); err != nil {
			return err
		}
	}
}

// idle waits for something to do: a change, a pending command's outcome, or the time for a heartbeat.
func (x *stream) idle(ctx context.Context, pending []follow.Place, heartbeat <-chan time.Time) error {
	var settled <-chan struct{}
	if len(pending) > 0 {
		settling := x.s.follower.Settling(pending)
		defer settling.Leave()
		settled = settling.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-x.s.stopped:
		return errStopped
	case <-x.watch.C:
	case <-settled:
	case <-heartbeat:
		x.buffer.WriteString(": still here\n\n")
		return x.flush()
	}
	return nil
}

// collect writes up to a page of settled outcomes to the buffer and moves the cursor. It returns the first command of
// each partition that is not settled, and whether there is more to collect.
func (x *stream) collect() (pending []follow.Place, more bool, err error) {
	// What is settled is read first: the rows below it are in the store by then, so that none can turn up behind the
	// cursor later.
	settled := x.s.follower.SettledAll()
	written := 0
	err = x.s.index.after(x.store, x.name, x.at, func(place follow.Place) (bool, error) {
		if place.Offset >= settled[place.Partition] {
			pending = append(pending, place)
			return false, nil
		}
		if written >= page {
			more = true
			return false, nil
		}
		wrote, err := x.outcome(place)
		if err != nil {
			return false, err
		}
		x.at[place.Partition] = place.Offset + 1
		if wrote {
			x.writeID()
			written++
		}
		return true, nil
	})
	return pending, more, err
}

// outcome writes the event of one settled command, without its id; a retry that left no record of its own has none.
func (x *stream) outcome(place follow.Place) (bool, error) {
	position := outcome.Position{Topic: x.s.config.Commands, Partition: place.Partition, Offset: place.Offset}
	c, known, err := x.s.index.command(place)
	if err != nil {
		return false, err
	}
	found, err := x.s.follower.Lookup(outcome.Command{ID: c.ID, Position: position})
	if err != nil {
		return false, err
	}
	if found.Duplicate || !found.Known() || found.Status == outcome.Settled {
		return false, nil
	}
	if known {
		if err := x.s.describe(&found, position); err != nil {
			return false, err
		}
	}
	if !x.s.visible(x.principal, found) {
		return false, nil
	}
	body, err := json.Marshal(found)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(&x.buffer, "event: %s\ndata: %s\n", found.Status, body)
	return true, nil
}

// writeID ends an event with the cursor behind it.
func (x *stream) writeID() {
	x.buffer.WriteString("id: ")
	x.buffer.WriteString(x.at.String())
	x.buffer.WriteString("\n\n")
	x.s.metrics.streamed.Inc()
}

// flush writes the buffer to the client.
func (x *stream) flush() error {
	if x.buffer.Len() == 0 {
		return nil
	}
	timeout := x.s.config.WriteTimeout
	began := time.Now()
	if err := x.control.SetWriteDeadline(began.Add(timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := x.buffer.WriteTo(x.w)
	if err == nil {
		err = x.control.Flush()
	}
	x.buffer.Reset()
	if err == nil && time.Since(began) > timeout/2 {
		return errSlow
	}
	return err
}

// String returns the cursor as an event's id: "partition.offset" of the next command in each partition, joined by "_".
func (c cursor) String() string {
	parts := make([]string, 0, len(c))
	for _, partition := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, strconv.FormatInt(int64(partition), 10)+"."+strconv.FormatInt(c[partition], 10))
	}
	return strings.Join(parts, "_")
}

// parseCursor reads what String wrote; the empty text is the beginning.
func parseCursor(text string) (cursor, error) {
	at := cursor{}
	if text == "" {
		return at, nil
	}
	if len(text) > maxCursor {
		return nil, fmt.Errorf("it has %d bytes, %d at most", len(text), maxCursor)
	}
	for part := range strings.SplitSeq(text, "_") {
		before, after, ok := strings.Cut(part, ".")
		partition, err := strconv.ParseUint(before, 10, 31)
		offset, err2 := strconv.ParseUint(after, 10, 63)
		if _, twice := at[int32(partition)]; !ok || err != nil || err2 != nil || twice {
			return nil, fmt.Errorf("%.40q is no partition and offset", part)
		}
		at[int32(partition)] = int64(offset)
	}
	return at, nil
}
