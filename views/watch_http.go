package views

import (
	"bytes"
	"context"
	"encoding/json/jsontext"
	json "encoding/json/v2"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/problem"
)

// What the zero values of HTTP stand for, in streams of changes.
const (
	DefaultMaxWatches   = 20_000
	DefaultHeartbeat    = 15 * time.Second
	DefaultWriteTimeout = 30 * time.Second
)

// HeaderLastEventID carries the position that a stream goes on from; EventSource sends it when it reconnects.
const HeaderLastEventID = "Last-Event-ID"

// parameterLastEventID stands in for the header on a page's first connection, where EventSource sends none.
const parameterLastEventID = "last-event-id"

// parameterPartition restricts a stream to the rows of one partition.
const parameterPartition = "partition"

// parsePartition reads a partition's number.
func parsePartition(text string) (int32, error) {
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil || number < 0 {
		return 0, fmt.Errorf("partition is %q; it must be a number from 0 on", text)
	}
	return int32(number), nil
}

// maxFlush bounds what is written to a stream at once: as long as each such piece is taken within the time for it, a
// reader may be as slow as it likes.
const maxFlush = 32 << 10

// wantsEvents reports whether a request accepts a stream of server-sent events.
func wantsEvents(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	for _, header := range r.Header["Accept"] {
		for accepted := range strings.SplitSeq(header, ",") {
			media, _, _ := strings.Cut(accepted, ";")
			if strings.EqualFold(strings.TrimSpace(media), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

// stream is one stream of changes; it belongs to the goroutine that serves it.
type stream[K, V any] struct {
	*handler[K, V]
	counts int64           // as so many streams
	ctx    context.Context // the watch's
	out    outlet
	watch  *bridge.ViewWatch
	cancel context.CancelFunc // ends the watch
	buffer []byte
	marked bool // the client has been told an id since the last reset
	sent   int  // rows, since the last flush
}

// serveWatch answers with a stream. It returns the status answered.
func (h *handler[K, V]) serveWatch(w http.ResponseWriter, r *http.Request, single bool, text string, p parameters) int {
	if err := p.only("key", "prefix", "token", parameterLastEventID, parameterPartition); err != nil {
		return refuse(w, fmt.Errorf("%w; a stream has no range, order or pages", err))
	}
	var watch Watch[K]
	switch {
	case single && p.has("prefix"):
		return refuse(w, errors.New("a key does not go with a prefix; choose one"))
	case single:
		key, err := h.ParseKey(text)
		if err != nil {
			return refuse(w, fmt.Errorf("the key %q cannot be read: %w", text, err))
		}
		watch.Key = &key
	case p.has("prefix"):
		prefix, err := h.ParsePrefix(p.text("prefix"))
		if err != nil {
			return refuse(w, fmt.Errorf("prefix cannot be read: %w", err))
		}
		watch.Prefix = prefix
	}
	if p.has(parameterPartition) {
		number, err := parsePartition(p.text(parameterPartition))
		if err != nil {
			return refuse(w, err)
		}
		watch.Partition = &number
	}
	selection, err := h.view.selection(watch)
	if err != nil {
		return refuse(w, err)
	}
	after := r.Header.Get(HeaderLastEventID)
	if after == "" {
		after = p.text(parameterLastEventID)
	}
	counts := int64(1)
	if r.Context().Value(enteredKey{}) != nil {
		counts = 0
	}
	if !h.enter(counts) {
		return tooManyStreams(w)
	}
	ctx, cancel := outlast(r)
	inner, err := h.view.bridge.Watch(ctx, selection, after)
	if err != nil {
		cancel()
		h.leave(counts)
		return refuse(w, fmt.Errorf("%s: %w; connect without it to begin anew", HeaderLastEventID, err))
	}
	s := &stream[K, V]{handler: h, counts: counts, ctx: ctx, out: newResponseOutlet(w), watch: inner, cancel: cancel, marked: after != ""}
	s.open(w, r)
	return http.StatusOK
}

// enteredKey is the context key that says of a stream's request that there is room for it: with the merged stream that it is made for.
type enteredKey struct{}

// enter makes room for so many streams, if there is room.
func (h *handler[K, V]) enter(streams int64) bool {
	if streams > 0 && h.watches.Add(streams) > int64(h.MaxWatches) {
		h.watches.Add(-streams)
		return false
	}
	return true
}

// leave gives the room of streams back.
func (h *handler[K, V]) leave(streams int64) { h.watches.Add(-streams) }

// tooManyStreams refuses a stream. It returns the status answered.
func tooManyStreams(w http.ResponseWriter) int {
	problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second, Detail: "there are too many streams open"})
	return http.StatusServiceUnavailable
}

// open begins the answer and has the stream served: on a connection taken over where that can be, so that the handler
// returns at once, else until its end.
func (s *stream[K, V]) open(w http.ResponseWriter, r *http.Request) {
	taking := beginStream(w, r)
	s.buffer = append(s.buffer, retry...)
	if s.flush() != nil {
		s.close()
		return
	}
	if taking && s.view.connections.take(w, s.cancel, s.serveOn) {
		return
	}
	defer context.AfterFunc(r.Context(), s.cancel)()
	s.serve()
}

// serveOn serves the stream on a connection that was taken over.
func (s *stream[K, V]) serveOn(out outlet) {
	// What net/http does for a handler: a Render that panics costs its stream and no more.
	defer func() {
		if fault := recover(); fault != nil {
			s.view.log.Error("telling a change panicked", "view", s.view.name, "panic", fault, "stack", string(debug.Stack()))
		}
	}()
	s.out = out
	s.serve()
}

// close gives back what the stream holds.
func (s *stream[K, V]) close() {
	s.cancel()
	s.watch.Close()
	s.leave(s.counts)
}

// serve writes until the client is gone or too slow, or the view stops.
func (s *stream[K, V]) serve() {
	defer s.close()
	// Streams opened together are not to beat together.
	beat := time.NewTimer(s.Heartbeat/2 + rand.N(s.Heartbeat/2))
	defer beat.Stop()
	for {
		s.buffer = nil // thousands of streams are idle at any time
		events, err := s.watch.Next(beat.C)
		if err != nil {
			bidFarewell(s.ctx, err, s.out, s.WriteTimeout)
			return
		}
		if len(events) == 0 {
			s.heartbeat()
		}
		if err := s.write(events); err != nil {
			return
		}
		beat.Reset(s.Heartbeat)
	}
}

// heartbeat appends a comment, and the position, which moves on also where nothing changes: so that a client that comes
// back is not far behind. An id without data is no event (WHATWG HTML, section 9.2.6).
func (s *stream[K, V]) heartbeat() {
	s.buffer = append(s.buffer, ":\n"...)
	if s.watch.Placed() {
		s.buffer = append(s.watch.AppendPosition(append(s.buffer, "id: "...)), '\n')
	}
	s.buffer = append(s.buffer, '\n')
}

// write appends events and flushes what there is.
func (s *stream[K, V]) write(events []bridge.ViewEvent) error {
	for _, event := range events {
		if err := s.append(event); err != nil {
			s.view.log.Error("a change cannot be told", "view", s.view.name, "error", err)
			return err
		}
		if len(s.buffer) >= maxFlush {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return s.flush()
}

// append appends one event.
func (s *stream[K, V]) append(event bridge.ViewEvent) error {
	switch event.Kind {
	case bridge.ViewReset:
		s.buffer = append(s.buffer, "event: reset\ndata: {}\n"...)
		s.marked = false
	case bridge.ViewWhole:
		s.buffer = append(s.buffer, "event: ready\ndata: {}\n"...)
		s.marked = false // from the mark of a snapshot to a position
	default:
		data, err := s.rendered(event.Change)
		if err != nil {
			return err
		}
		s.buffer = append(s.buffer, data...)
		s.sent++
		if event.Change.Offset < 0 && s.marked {
			s.buffer = append(s.buffer, '\n') // the id of a snapshot was told with its first row
			return nil
		}
	}
	s.marked = true
	s.buffer = append(s.watch.AppendID(append(s.buffer, "id: "...), event), "\n\n"...)
	return nil
}

// rendered returns the lines of a change's event but for its id: made once for all who are told.
func (s *stream[K, V]) rendered(change *bridge.ViewChange) ([]byte, error) {
	if made := change.Rendered.Load(); made != nil && made.Owner == s.handler {
		return made.Data, nil
	}
	data, err := s.render(change)
	if err == nil && change.Offset >= 0 {
		change.Rendered.Store(&bridge.ViewRendered{Owner: s.handler, Data: data})
	}
	return data, err
}

func (h *handler[K, V]) render(change *bridge.ViewChange) ([]byte, error) {
	key, err := h.view.keys.Decode(change.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: the key %q in view %s: %w", ErrDecode, change.Key, h.view.name, err)
	}
	if change.Value == nil {
		body, err := h.RenderDeleted(nil, key)
		return eventLines("deleted", body), err
	}
	value, err := h.view.values.Decode(change.Value)
	if err != nil {
		return nil, fmt.Errorf("%w: the value of %q in view %s: %w", ErrDecode, change.Key, h.view.name, err)
	}
	body, err := h.Render(nil, key, value)
	return eventLines("row", body), err
}

// eventLines returns the lines of an event. Data with line breaks, which JSON may have between its tokens, takes several.
func eventLines(name string, data []byte) []byte {
	lines := append(append(make([]byte, 0, len(name)+len(data)+16), "event: "...), name...)
	for line := range bytes.Lines(data) {
		lines = append(append(lines, "\ndata: "...), bytes.TrimRight(line, "\r\n")...)
	}
	return append(lines, '\n')
}

// renderDeleted is how a deleted row is told when the configuration does not say.
func renderDeleted[K any](dst []byte, key K) ([]byte, error) {
	encoded, err := json.Marshal(key, jsontext.AllowDuplicateNames(true))
	if err != nil {
		return nil, err
	}
	return append(append(append(dst, `{"key":`...), encoded...), '}'), nil
}

// flush writes the buffer to the client. One that does not take it in time is gone.
func (s *stream[K, V]) flush() error {
	if len(s.buffer) == 0 {
		return nil
	}
	err := s.out.send(s.buffer, s.WriteTimeout)
	s.buffer = s.buffer[:0]
	s.view.metrics.told.Add(float64(s.sent))
	s.sent = 0
	return err
}
