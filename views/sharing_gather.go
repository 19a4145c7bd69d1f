package views

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/forward"
	"github.com/tidemill/tidemill/internal/problem"
)

// HeaderMissing names, in an answer to a query with the parameter partial, the partitions whose rows are not in it.
const HeaderMissing = "Tidemill-Missing"

// gathering is a query for rows or a count of all partitions.
type gathering[K any] struct {
	parameters parameters
	query      Query[K]
	bounds     bounds
	bound      staleness
	wait       time.Duration // for the answer
	limit      time.Duration // for one instance to begin its part
	counts     bool
	partial    bool
}

// gathering reads a query.
func (h *sharedHandler[K, V]) gathering(r *http.Request, p parameters, bound staleness) (q gathering[K], err error) {
	q = gathering[K]{parameters: p, bound: bound, counts: p.has("count"), partial: p.has("partial")}
	if q.counts {
		err = p.only("prefix", "from", "to", "count", "token", "partial")
	} else {
		err = p.only("prefix", "from", "to", "limit", "cursor", "order", "token", "partial")
	}
	if err != nil {
		return q, err
	}
	if q.query, err = h.query(p); err != nil {
		return q, err
	}
	if q.bounds, err = h.view.bounds(q.query); err != nil {
		return q, err
	}
	asking := h.asking(r, p, 0, bound)
	q.wait, q.limit = asking.wait, asking.limit
	return q, nil
}

// serveAll answers a query for rows or a count, of whatever partitions.
func (h *sharedHandler[K, V]) serveAll(w http.ResponseWriter, r, original *http.Request, parameters parameters, bound staleness) {
	if forward.Forwarded(r) && r.Header.Get(headerPartitions) != "" {
		h.servePart(w, r, parameters, bound)
		return
	}
	if wantsEvents(r) {
		h.serveStream(w, original, parameters, bound)
		return
	}
	q, err := h.gathering(r, parameters, bound)
	if err != nil {
		refuse(w, err)
		return
	}
	number, one := h.view.bridge.Within(q.bounds.from, q.bounds.to)
	if one && !q.partial {
		h.sharing.serve(w, original, h.asking(r, parameters, number, bound), h.local())
		return
	}
	numbers := []int32{number}
	if !one {
		numbers = make([]int32, h.view.bridge.Partitions())
		for i := range numbers {
			numbers[i] = int32(i)
		}
	}
	if len(numbers) == 0 {
		h.sharing.fail(w, -1, ErrNotReady)
		return
	}
	parts, missing, answered := h.gather(w, original, q, numbers)
	switch {
	case answered:
	case len(missing) > 0 && !q.partial:
		h.sharing.metrics.answered(wayFailed)
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:partition-unavailable", Title: "Some partitions are not available", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Detail: "no instance could answer for these partitions as fresh as asked for; ask again in a moment, or with partial for the rows of the others",
			Extra:  map[string]any{"missing": missing},
		})
	default:
		way := wayGather
		if len(missing) > 0 {
			way = wayPartial
			w.Header().Set(HeaderMissing, joined(missing))
		}
		h.sharing.metrics.answered(way)
		h.answerAll(w, r, q, parts, missing)
	}
}

// asked is one instance that is asked for its part.
type asked struct {
	base    string // "" is this instance
	numbers []int32
	limit   time.Duration // for its answer to begin
	silence time.Duration // without a sign of life until then; 0 where nobody else has the partitions
	part    *part
	refusal *recorded // an answer that is the client's to get, instead
}

// gather asks each instance for its part until all partitions are there or the time is up. answered tells that the client has
// been answered with what an instance had to object.
func (h *sharedHandler[K, V]) gather(w http.ResponseWriter, r *http.Request, q gathering[K], missing []int32) (parts []*part, left []int32, answered bool) {
	deadline := time.Now().Add(q.wait)
	for round := 0; ; round++ {
		_, changed := h.sharing.now()
		questions := h.questions(missing, round, q.limit, q.bound)
		ctx, cancel := context.WithDeadline(r.Context(), deadline.Add(forwardLimit))
		var group sync.WaitGroup
		for _, question := range questions {
			group.Go(func() { h.ask(r.WithContext(ctx), q, question) })
		}
		group.Wait()
		cancel()
		for _, question := range questions {
			if question.refusal != nil {
				question.refusal.relay(w)
				return nil, nil, true
			}
			if question.part == nil || len(question.part.Partitions) == 0 {
				continue
			}
			parts = append(parts, question.part)
			missing = slices.DeleteFunc(missing, func(number int32) bool {
				return slices.ContainsFunc(question.part.Partitions, func(s partStanding) bool { return s.Partition == number })
			})
		}
		wait := time.Until(deadline)
		if len(missing) == 0 || wait <= 0 || r.Context().Err() != nil || (q.partial && round > 1) {
			return parts, missing, false
		}
		if round == 0 {
			continue // the next ones at once
		}
		select {
		case <-changed:
		case <-time.After(min(wait, 20*time.Millisecond)):
		case <-r.Context().Done():
		}
	}
}

// questions says whom to ask for which partitions: in the first round who is best, then the next best.
func (h *sharedHandler[K, V]) questions(numbers []int32, round int, limit time.Duration, bound staleness) (questions []*asked) {
	for _, number := range numbers {
		bases, here := h.sharing.bases(number)
		if here >= 0 {
			bases = slices.Insert(bases, here, "")
		} else if h.sharing.held(number) {
			bases = append(bases, "")
		}
		if bound.given && slices.Contains(bases, "") && h.sharing.freshNow(number, bound) {
			bases = append([]string{""}, bases...)
		}
		if len(bases) == 0 {
			continue
		}
		base := bases[round%len(bases)]
		at := slices.IndexFunc(questions, func(q *asked) bool { return q.base == base })
		if at < 0 {
			again := min(round, 6)
			questions = append(questions, &asked{base: base, limit: limit << again, silence: forward.Silence << again}) // one that takes long is let to, in the end
			at = len(questions) - 1
		}
		if len(bases) == 1 {
			questions[at].silence = 0
		}
		questions[at].numbers = append(questions[at].numbers, number)
	}
	return questions
}

// ask asks one instance for its part.
func (h *sharedHandler[K, V]) ask(r *http.Request, q gathering[K], question *asked) {
	if question.base == "" {
		answer := &recorded{header: make(http.Header)}
		if question.part, _ = h.part(answer, r, q, question.numbers); question.part == nil && answer.final() {
			question.refusal = answer
		}
		return
	}
	r = r.Clone(r.Context())
	r.Method = http.MethodGet
	r.Header.Set(headerPartitions, joined(question.numbers))
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "Range", "If-Range"} {
		r.Header.Del(name)
	}
	response, err := h.sharing.forward.Ask(r, question.base, question.limit, question.silence)
	if err != nil {
		h.view.log.Debug("an instance did not give its part of an answer", "at", question.base, "error", err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK && response.Header.Get("Content-Type") == contentTypePart {
		if question.part, err = readPart(response.Body); err != nil {
			h.view.log.Warn("an instance gave a part of an answer that cannot be read", "at", question.base, "error", err)
			question.part = nil
		}
		return
	}
	answer := &recorded{header: response.Header, status: response.StatusCode}
	if answer.body, err = io.ReadAll(io.LimitReader(response.Body, maxPartHead)); err == nil && answer.final() {
		question.refusal = answer
	}
}

// recorded is an answer that is kept until it is known whether the client gets it.
type recorded struct {
	header http.Header
	status int
	body   []byte
}

// Header returns the answer's header.
func (a *recorded) Header() http.Header { return a.header }

// WriteHeader keeps the status.
func (a *recorded) WriteHeader(status int) { a.status = status }

// Write keeps the body.
func (a *recorded) Write(data []byte) (int, error) {
	a.body = append(a.body, data...)
	return len(data), nil
}

// final reports whether asking another instance would lead to the same.
func (a *recorded) final() bool {
	return a.status >= http.StatusBadRequest && a.status < http.StatusInternalServerError ||
		a.status == http.StatusGatewayTimeout || a.status == http.StatusNotImplemented
}

// pause is how long a stream that was refused for now is not to be asked for again. A second is said where a partition is on its way
// to somebody else: that is looked for more often.
func (a *recorded) pause() time.Duration {
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds <= 1 {
		return mergedPause
	}
	return time.Duration(min(seconds, 60)) * time.Second
}

// relay answers the client with it.
func (a *recorded) relay(w http.ResponseWriter) {
	for _, name := range []string{"Content-Type", "Cache-Control", "Retry-After", "Preference-Applied", "Www-Authenticate"} {
		if values := a.header[name]; len(values) > 0 {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(a.status)
	// The client is gone when this fails; nobody is left to be told.
	_, _ = w.Write(a.body)
}

func joined(numbers []int32) string {
	var text []byte
	for i, number := range numbers {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(number), 10)
	}
	return string(text)
}

// answerAll answers with what the parts have together.
func (h *sharedHandler[K, V]) answerAll(w http.ResponseWriter, r *http.Request, q gathering[K], parts []*part, missing []int32) {
	var standings []partStanding
	count := int64(0)
	for _, p := range parts {
		standings = append(standings, p.Partitions...)
		count += p.Count
	}
	var body []byte
	if q.counts {
		body = strconv.AppendInt([]byte(`{"count":`), count, 10)
	} else {
		var next string
		body, next = h.merge(q, parts)
		if next != "" {
			body = append(append(append(body, `,"next":"`...), next...), '"')
			w.Header().Set("Link", "<?"+following(r, q.parameters, next)+`>; rel="next"`)
		}
	}
	if len(missing) > 0 {
		body = append(append(append(body, `,"missing":[`...), joined(missing)...), ']')
	}
	w.Header().Set(HeaderInstance, h.sharing.config.Instance)
	answer(w, r, append(body, '}'), h.together(w, standings))
}

// together describes the positions of partitions of several instances.
func (h *sharedHandler[K, V]) together(w http.ResponseWriter, standings []partStanding) headers {
	slices.SortFunc(standings, func(a, b partStanding) int { return int(a.Partition - b.Partition) })
	var text []byte
	lag, age, known := int64(0), 0.0, true
	for i, s := range standings {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, "%d:%d", s.Partition, s.Position)
		lag += s.Lag
		age, known = max(age, s.Age), known && s.Age >= 0
	}
	if known {
		tellAge(w.Header(), age)
	}
	return headers{position: string(text), lag: strconv.FormatInt(lag, 10)}
}

// merge brings the parts' rows into one order, up to the limit. A part that has more rows than it sent ends the page with its
// last one: what comes after is not known.
func (h *sharedHandler[K, V]) merge(q gathering[K], parts []*part) (body []byte, next string) {
	body = append(body, `{"items":[`...)
	var last []byte
	first := len(body)
	more := false
	for count := 0; ; count++ {
		var best *part
		for _, p := range parts {
			if len(p.rows) == 0 {
				more = more || p.More
				continue
			}
			if best == nil || (bytes.Compare(p.rows[0].key, best.rows[0].key) < 0) != q.bounds.descending {
				best = p
			}
		}
		if best == nil || more {
			break
		}
		if count == q.query.Limit || len(body) >= maxPageBytes {
			more = true
			break
		}
		if len(body) > first {
			body = append(body, ',')
		}
		body = append(body, best.rows[0].row...)
		last = best.rows[0].key
		best.rows = best.rows[1:]
	}
	body = append(body, ']')
	if !more || last == nil {
		return body, ""
	}
	return body, q.bounds.cursor(last)
}
