package views

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// mergedMark begins the id of an event of a merged stream: those of the partitions' streams follow, in order.
	mergedMark = "m1."
	// mergedComma is between them.
	mergedComma = "~"
	// mergedPause is between two attempts to open a partition's stream anew, unless an instance wants to be left alone for longer.
	mergedPause = 250 * time.Millisecond
	// mergedEarly is how many bytes may come of some partitions' streams while it is not known yet whether the others can be had.
	mergedEarly = 1 << 20
)

// merged is a stream of changes of rows on several partitions. Each partition's comes from an instance that holds it, as it would
// by the parameter partition, and goes on at another one when it breaks off; what they tell is told as it comes. A row's
// changes stay in order, for a row is on one partition. Where one of them begins anew, all do. It belongs to the goroutine that
// serves it, but for what it is made with.
type merged[K, V any] struct {
	h       *sharedHandler[K, V]
	request *http.Request
	ask     asking
	ctx     context.Context // ends with the client, or the credentials
	cancel  context.CancelFunc
	stopped <-chan struct{} // closed when this instance ends its streams
	told    chan mergedPiece
	running sync.WaitGroup // the partitions' goroutines

	parts  []*mergedPart
	out    outlet
	buffer []byte
	moved  bool // a partition has gone on without anything to tell
}

// mergedPart is one partition's stream.
type mergedPart struct {
	id     string // where the client stands, "" for nowhere
	ready  bool
	turn   int // grows whenever it is opened: what an earlier one told counts no more
	cancel context.CancelFunc
}

// mergedPiece is what a partition's stream tells: that it has begun, events, or its end.
type mergedPiece struct {
	number, turn int
	events       []byte    // whole ones
	refused      *recorded // an answer that is no stream
	ended        bool
}

// serveMerged answers with a stream of all partitions.
func (h *sharedHandler[K, V]) serveMerged(w http.ResponseWriter, r *http.Request, parameters parameters, bound staleness, count int32) {
	after := r.Header.Get(HeaderLastEventID)
	if after == "" {
		after = parameters.text(parameterLastEventID)
	}
	ids, known, err := mergedIDs(after, int(count))
	if err != nil {
		refuse(w, err)
		return
	}
	if !h.enter(int64(count)) {
		tooManyStreams(w)
		return
	}
	m := &merged[K, V]{h: h, request: r, ask: h.asking(r, parameters, 0, bound), stopped: h.view.connections.stopped(), told: make(chan mergedPiece), out: newResponseOutlet(w)}
	if !known {
		m.buffer = append(m.buffer, "event: reset\ndata: {}\n\n"...)
	}
	m.ctx, m.cancel = outlast(r)
	stop := context.AfterFunc(r.Context(), m.cancel)
	for number, id := range ids {
		m.parts = append(m.parts, &mergedPart{id: id})
		m.open(number, 0)
	}
	early, ok := m.begin(w)
	if !ok {
		m.end()
		return
	}
	w.Header().Set(HeaderInstance, h.sharing.config.Instance)
	taking := beginStream(w, r)
	m.buffer = append([]byte(retry), m.buffer...)
	if m.flush() != nil {
		m.end()
		return
	}
	serve := func(out outlet) {
		defer m.end()
		m.out = out
		m.serve(early)
	}
	stop()
	if taking && h.view.connections.take(w, m.cancel, serve) {
		return
	}
	defer context.AfterFunc(r.Context(), m.cancel)()
	serve(m.out)
}

// mergedIDs takes the id of a merged stream's event apart: where each partition's stream is to go on, "" for the beginning. known is
// false for one of another number of partitions.
func mergedIDs(after string, count int) (ids []string, known bool, err error) {
	if after == "" {
		return make([]string, count), true, nil
	}
	text, ours := strings.CutPrefix(after, mergedMark)
	// As a parameter it may have what no header can: an instance that it was sent to in one would seem to be gone.
	if !ours || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, false, fmt.Errorf("%s is not the id of one of this stream's events; connect without it to begin anew", HeaderLastEventID)
	}
	if ids = strings.Split(text, mergedComma); len(ids) != count {
		return make([]string, count), false, nil
	}
	return ids, true, nil
}

// end ends the partitions' streams and waits for them.
func (m *merged[K, V]) end() {
	defer m.h.leave(int64(len(m.parts)))
	m.cancel()
	m.running.Wait()
}

// open opens a partition's stream, anew if it was open, after a pause.
func (m *merged[K, V]) open(number int, pause time.Duration) {
	part := m.parts[number]
	if part.cancel != nil {
		part.cancel()
	}
	part.turn++
	ctx, cancel := context.WithCancel(context.WithValue(m.ctx, enteredKey{}, true))
	part.cancel = cancel
	w := &mergedWriter{header: make(http.Header), ctx: ctx, number: number, turn: part.turn, told: m.told}
	r := m.request.Clone(ctx)
	query := r.URL.Query()
	query.Del(parameterLastEventID)
	query.Set(parameterPartition, strconv.Itoa(number))
	r.URL.RawQuery = query.Encode()
	r.RequestURI, r.Body, r.ContentLength = r.URL.RequestURI(), http.NoBody, 0
	r.Header.Del(HeaderLastEventID)
	if part.id != "" {
		r.Header.Set(HeaderLastEventID, part.id)
	}
	if prefersRedirect(r) { // the client cannot be sent to several instances
		wait, asked := preferredWait(r.Header["Prefer"])
		if r.Header.Del("Prefer"); asked {
			r.Header.Set("Prefer", "wait="+strconv.FormatFloat(wait.Seconds(), 'f', -1, 64))
		}
	}
	ask := m.ask
	ask.partition = int32(number)
	m.running.Go(func() {
		defer cancel()
		defer w.end()
		defer m.recover()
		if pause == 0 || sleep(ctx, pause) {
			m.h.sharing.serve(w, r, ask, m.h.local())
		}
	})
}

// recover does what net/http does for a handler.
func (m *merged[K, V]) recover() {
	if fault := recover(); fault != nil && fault != http.ErrAbortHandler {
		m.h.view.log.Error("telling a change panicked", "view", m.h.view.name, "panic", fault, "stack", string(debug.Stack()))
	}
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin waits until it is known of each partition whether its stream can be had: what is wrong with the request they say. It returns
// what they have told by then, and false where the client has been answered.
func (m *merged[K, V]) begin(w http.ResponseWriter) (early []mergedPiece, ok bool) {
	known, size := make(map[int]bool), 0
	for len(known) < len(m.parts) && size < mergedEarly {
		select {
		case piece := <-m.told:
			if piece.refused != nil && piece.refused.final() {
				piece.refused.relay(w)
				return nil, false
			}
			known[piece.number] = true
			size += len(piece.events)
			early = append(early, piece)
		case <-m.ctx.Done():
			m.h.sharing.fail(w, -1, m.ctx.Err())
			return nil, false
		}
	}
	return early, true
}

// errStreamRefused ends a merged stream of which an instance says that it is not to be.
var errStreamRefused = errors.New("an instance refuses the stream")

// serve tells what comes until the client is gone or too slow, or this instance ends its streams.
func (m *merged[K, V]) serve(early []mergedPiece) {
	beat := time.NewTicker(m.h.Heartbeat)
	defer beat.Stop()
	var err error
	for _, piece := range early {
		if err == nil {
			err = m.take(piece)
		}
	}
	for err == nil {
		if err = m.flush(); err != nil {
			return // the client is gone
		}
		select {
		case piece := <-m.told:
			err = m.take(piece)
		case <-beat.C:
			m.heartbeat()
		case <-m.stopped:
			err = ErrStopped
		case <-m.ctx.Done():
			err = m.ctx.Err()
		}
	}
	if m.flush() == nil {
		bidFarewell(m.ctx, err, m.out, m.h.WriteTimeout)
	}
}

// heartbeat appends a comment, and where the client stands if that has changed.
func (m *merged[K, V]) heartbeat() {
	m.buffer = append(m.buffer, ":\n"...)
	if m.moved {
		m.appendID()
	}
	m.buffer = append(m.buffer, '\n')
}

// appendID appends where the client stands.
func (m *merged[K, V]) appendID() {
	m.moved = false
	m.buffer = append(append(m.buffer, "id: "...), mergedMark...)
	for number, p := range m.parts {
		if number > 0 {
			m.buffer = append(m.buffer, mergedComma...)
		}
		m.buffer = append(m.buffer, p.id...)
	}
	m.buffer = append(m.buffer, '\n')
}

// take takes what a partition's stream tells. An error ends the stream.
func (m *merged[K, V]) take(piece mergedPiece) error {
	part := m.parts[piece.number]
	switch {
	case piece.turn != part.turn: // it is another's
		return nil
	case piece.refused != nil && piece.refused.final():
		return errStreamRefused
	case piece.refused != nil:
		m.open(piece.number, piece.refused.pause())
		return nil
	case piece.ended:
		m.open(piece.number, mergedPause)
		return nil
	}
	for rest := piece.events; len(rest) > 0 && piece.turn == part.turn; {
		var event []byte
		event, rest, _ = bytes.Cut(rest, []byte("\n\n"))
		m.event(part, event)
		if len(m.buffer) >= maxFlush {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// event tells one event of a partition's stream, with the place in all of them for its id.
func (m *merged[K, V]) event(part *mergedPart, event []byte) {
	name, placed := "", false
	begun := len(m.buffer)
	for line := range bytes.Lines(append(event, '\n')) {
		if id, found := bytes.CutPrefix(line, []byte("id: ")); found {
			part.id, placed = string(bytes.TrimRight(id, "\n")), true
			continue
		}
		if text, found := bytes.CutPrefix(line, []byte("event: ")); found {
			name = string(bytes.TrimRight(text, "\n"))
		}
		m.buffer = append(m.buffer, line...)
	}
	m.moved = m.moved || placed
	switch name {
	case "": // a heartbeat, or what is for the instance that asks
		m.buffer = m.buffer[:begun]
		return
	case "reset":
		for number, other := range m.parts {
			if other.ready = false; other != part {
				other.id = ""
				m.open(number, 0) // all its rows are to be told again
			}
		}
	case "ready":
		again := m.ready()
		if part.ready = true; again || !m.ready() {
			m.buffer = m.buffer[:begun] // it goes on where it was left, or others are to come
			return
		}
	}
	if placed {
		m.appendID()
	}
	m.buffer = append(m.buffer, '\n')
}

// ready reports whether all rows of all partitions have been told.
func (m *merged[K, V]) ready() bool {
	for _, part := range m.parts {
		if !part.ready {
			return false
		}
	}
	return true
}

// flush sends the buffer.
func (m *merged[K, V]) flush() error {
	if len(m.buffer) == 0 {
		return nil
	}
	err := m.out.send(m.buffer, m.h.WriteTimeout)
	m.buffer = m.buffer[:0]
	return err
}

// mergedWriter is where a partition's stream is written to: it passes on whole events. It belongs to the goroutine that
// serves that stream.
type mergedWriter struct {
	header       http.Header
	ctx          context.Context
	number, turn int
	told         chan<- mergedPiece
	status       int
	rest         []byte // the beginning of an event, or the answer that is no stream
}

func (w *mergedWriter) tell(piece mergedPiece) {
	piece.number, piece.turn = w.number, w.turn
	select {
	case w.told <- piece:
	case <-w.ctx.Done():
	}
}

// Header implements http.ResponseWriter.
func (w *mergedWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *mergedWriter) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	if w.status = status; status == http.StatusOK {
		w.tell(mergedPiece{})
	}
}

// Write implements http.ResponseWriter.
func (w *mergedWriter) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.rest = append(w.rest, data...)
	if w.status != http.StatusOK {
		return len(data), nil
	}
	if end := bytes.LastIndex(w.rest, []byte("\n\n")); end >= 0 {
		events := bytes.Clone(w.rest[:end+2])
		w.rest = append(w.rest[:0], w.rest[end+2:]...)
		w.tell(mergedPiece{events: events})
	}
	return len(data), w.ctx.Err()
}

// Flush implements http.Flusher: everything is passed on at once.
func (*mergedWriter) Flush() {}

// end tells that the stream has ended, or that it was none.
func (w *mergedWriter) end() {
	if w.status != 0 && w.status != http.StatusOK {
		w.tell(mergedPiece{refused: &recorded{header: w.header, status: w.status, body: w.rest}})
		return
	}
	w.tell(mergedPiece{ended: true})
}
