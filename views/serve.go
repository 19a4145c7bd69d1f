package views

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/problem"
)

// The headers of this protocol.
const (
	// HeaderToken carries a position token in a request.
	HeaderToken = "Tidemill-Token"
	// HeaderPosition says which changelog positions an answer is not older than: "partition:offset", comma-separated.
	HeaderPosition = "Tidemill-Position"
	// HeaderLag says how many offsets those positions were behind the changelog when last looked at.
	HeaderLag = "Tidemill-Lag"
)

// unreachableAfter is for how long the log may be out of reach before a token that times out is answered 503.
const unreachableAfter = 3 * time.Second

// routeWatch names streams of changes among the routes.
const routeWatch = "watch"

// buffers are the bodies being written.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// ServeHTTP answers one query.
func (h *handler[K, V]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	route, status := h.serve(w, r)
	if route == routeWatch && status == http.StatusOK {
		return // a stream's duration is its client's
	}
	h.view.metrics.requests.WithLabelValues(route, statusText(status)).Observe(time.Since(started).Seconds())
}

// statusText spares the formatting of the codes that are common.
func statusText(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusNotModified:
		return "304"
	case http.StatusNotFound:
		return "404"
	}
	return strconv.Itoa(status)
}

// serve finds out what is asked for. It returns the route's name and the status it answered.
func (h *handler[K, V]) serve(w http.ResponseWriter, r *http.Request) (route string, status int) {
	rest, found := strings.CutPrefix(r.URL.Path, h.Path)
	if !found || (rest != "" && rest[0] != '/') {
		problem.NotFound(w, r)
		return "other", http.StatusNotFound
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		problem.MethodNotAllowed(w, r, "GET, HEAD")
		return "other", http.StatusMethodNotAllowed
	}
	key := strings.TrimPrefix(rest, "/")
	var bound staleness
	var came time.Time
	var err error
	if h.view.sharing == nil { // else it has been kept already
		if r, bound, err = takeStaleness(r); err != nil {
			return "other", refuse(w, err)
		}
		if bound.given {
			came = time.Now()
		}
	}
	parameters, err := parseParameters(r.URL.RawQuery)
	if err != nil {
		return "other", refuse(w, err)
	}
	single := key != "" || parameters.has("key")
	if key == "" {
		key = parameters.text("key")
	} else if parameters.has("key") {
		return "key", refuse(w, errors.New("the path names a key, and so does the parameter key"))
	}
	if parameters.has("token") || len(r.Header[HeaderToken]) > 0 {
		if status := h.await(w, r, parameters); status != 0 {
			return "other", status
		}
	}
	if bound.given {
		if status := h.awaitBound(w, r, bound, came, single, key, parameters); status != 0 {
			return "other", status
		}
	}
	switch {
	case wantsEvents(r):
		return routeWatch, h.serveWatch(w, r, single, key, parameters)
	case single:
		return "key", h.serveKey(w, r, key, parameters)
	case parameters.has("count"):
		return "count", h.serveCount(w, r, parameters)
	}
	return "rows", h.serveRows(w, r, parameters)
}

// serveKey answers with one row.
func (h *handler[K, V]) serveKey(w http.ResponseWriter, r *http.Request, text string, parameters parameters) int {
	if err := parameters.only("key", "token"); err != nil {
		return refuse(w, err)
	}
	key, err := h.ParseKey(text)
	if err != nil {
		return refuse(w, fmt.Errorf("the key %q cannot be read: %w", text, err))
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	encoded, err := h.view.keys.Append((*buffer)[:0], key)
	if err != nil {
		return refuse(w, fmt.Errorf("the key %q cannot be encoded: %w", text, err))
	}
	*buffer = encoded
	raw, found, number, position, err := h.view.bridge.Get(encoded)
	if err != nil {
		return h.fail(w, r, err)
	}
	place := strconv.AppendInt((*buffer)[len(encoded):len(encoded)], int64(number), 10)
	place = strconv.AppendInt(append(place, ':'), position, 10)
	header := headers{position: string(place), lag: strconv.FormatInt(h.view.bridge.Lag(number), 10)}
	if !found {
		header.set(w.Header())
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:no-such-key", Status: http.StatusNotFound, Title: "No such key", Detail: "there is no row with the key " + strconv.Quote(text),
		})
		return http.StatusNotFound
	}
	value, err := h.view.values.Decode(raw)
	if err != nil {
		return h.fail(w, r, fmt.Errorf("%w: the value of %q in view %s: %w", ErrDecode, encoded, h.view.name, err))
	}
	body, err := h.Render((*buffer)[:0], key, value)
	if err != nil {
		return h.fail(w, r, fmt.Errorf("rendering the row of %q in view %s: %w", text, h.view.name, err))
	}
	*buffer = body
	return answer(w, r, body, header)
}

// serveCount answers with a number of rows.
func (h *handler[K, V]) serveCount(w http.ResponseWriter, r *http.Request, parameters parameters) int {
	if err := parameters.only("prefix", "from", "to", "count", "token"); err != nil {
		return refuse(w, fmt.Errorf("%w; a count has no pages and no order", err))
	}
	query, err := h.query(parameters)
	if err != nil {
		return refuse(w, err)
	}
	bounds, err := h.view.bounds(query)
	if err != nil {
		return refuse(w, err)
	}
	count, at, err := h.view.count(r.Context(), bounds)
	if err != nil {
		return h.fail(w, r, err)
	}
	body := strconv.AppendInt([]byte(`{"count":`), count, 10)
	return answer(w, r, append(body, '}'), h.standing(at))
}

// serveRows answers with a page of rows.
func (h *handler[K, V]) serveRows(w http.ResponseWriter, r *http.Request, parameters parameters) int {
	if err := parameters.only("prefix", "from", "to", "limit", "cursor", "order", "token"); err != nil {
		return refuse(w, err)
	}
	query, err := h.query(parameters)
	if err != nil {
		return refuse(w, err)
	}
	rows := h.view.Query(r.Context(), query)
	if rows.err != nil {
		return refuse(w, rows.err)
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	body := append((*buffer)[:0], `{"items":[`...)
	first := len(body)
	at := rows.walk(func(scan *bridge.ViewScan) bool {
		key, value, err := h.view.decode(scan.Key(), scan.Value())
		if err == nil {
			if len(body) > first {
				body = append(body, ',')
			}
			body, err = h.Render(body, key, value)
		}
		rows.err = err
		return err == nil && len(body) < maxPageBytes
	})
	if len(body) < maxPageBytes {
		*buffer = body
	}
	if rows.err != nil {
		return h.fail(w, r, rows.err)
	}
	body = append(body, ']')
	if next := rows.Cursor(); next != "" {
		body = append(append(append(body, `,"next":"`...), next...), '"')
		w.Header().Set("Link", "<?"+following(r, parameters, next)+`>; rel="next"`)
	}
	return answer(w, r, append(body, '}'), h.standing(at))
}

// query reads what the parameters select.
func (h *handler[K, V]) query(p parameters) (q Query[K], err error) {
	q.Limit, q.Cursor = h.Limit, p.text("cursor")
	if p.has("cursor") && q.Cursor == "" {
		return q, fmt.Errorf("%w: it is empty", ErrCursor)
	}
	if p.has("limit") {
		if q.Limit, err = strconv.Atoi(p.text("limit")); err != nil || q.Limit < 1 || q.Limit > h.MaxRows {
			return q, fmt.Errorf("limit is %q; it must be a number from 1 to %d", p.text("limit"), h.MaxRows)
		}
	}
	switch order := p.text("order"); {
	case order == "desc":
		q.Descending = true
	case order != "asc" && p.has("order"):
		return q, fmt.Errorf("order is %q; it must be asc or desc", order)
	}
	if p.has("prefix") {
		if q.Prefix, err = h.ParsePrefix(p.text("prefix")); err != nil {
			return q, fmt.Errorf("prefix cannot be read: %w", err)
		}
	}
	for name, bound := range map[string]**K{"from": &q.From, "to": &q.To} {
		if p.has(name) {
			key, err := h.ParseKey(p.text(name))
			if err != nil {
				return q, fmt.Errorf("%s cannot be read: %w", name, err)
			}
			*bound = &key
		}
	}
	return q, nil
}

// await waits for the request's token. It returns 0 to go on, or the status it answered.
func (h *handler[K, V]) await(w http.ResponseWriter, r *http.Request, p parameters) int {
	text := p.token(r)
	if named := r.Header[HeaderToken]; len(named) > 1 || (len(named) == 1 && p.has("token") && named[0] != p.text("token")) {
		return refuse(w, errors.New("more than one position token was sent"))
	}
	token, err := ParseToken(text)
	if err != nil {
		return refuse(w, err)
	}
	wait := h.waits(w, r)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	switch err := h.view.Await(ctx, token); {
	case err == nil:
		return 0
	case errors.Is(err, ErrForeignToken):
		return refuse(w, err)
	case errors.Is(err, ErrNoProcessor):
		problem.Write(w, problem.Details{Type: "urn:tidemill:tokens-not-followed", Status: http.StatusNotImplemented, Detail: err.Error()})
		return http.StatusNotImplemented
	case bridge.AwaitTimedOut(err) && h.view.Recovered() && time.Since(h.view.bridge.Contact()) < unreachableAfter:
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:token-not-reached", Title: "The view is not there yet", Status: http.StatusGatewayTimeout,
			Detail: "the effect of the token's command was not readable within " + wait.String() + "; ask again, or with a longer Prefer: wait",
			Extra:  map[string]any{"token": text},
		})
		return http.StatusGatewayTimeout
	default:
		return h.fail(w, r, err)
	}
}

// waits returns how long a query may wait, and says so in its answer where the client has chosen.
func (h *handler[K, V]) waits(w http.ResponseWriter, r *http.Request) time.Duration {
	wait, asked := preferredWait(r.Header["Prefer"])
	if !asked {
		return h.Wait
	}
	wait = min(wait, h.MaxWait)
	w.Header().Set("Preference-Applied", "wait="+strconv.FormatFloat(wait.Seconds(), 'f', -1, 64))
	return wait
}

// fail answers a query that went wrong on this side.
func (h *handler[K, V]) fail(w http.ResponseWriter, r *http.Request, err error) int {
	switch {
	case r.Context().Err() != nil:
		// Most likely the client has gone and reads nothing of it.
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Detail: "the query was cut off"})
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNotReady):
		restored, total := h.view.Progress()
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:not-restored", Title: "The view is being restored", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Detail: "ask again in a moment", Extra: map[string]any{"restored": restored, "total": total},
		})
		return http.StatusServiceUnavailable
	case bridge.AwaitTimedOut(err):
		problem.Write(w, problem.Details{
			Type: "urn:tidemill:log-unreachable", Title: "The log cannot be reached", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Detail: "whether the view has the effect of the token's command cannot be told now; without the token it answers from the state it has",
		})
		return http.StatusServiceUnavailable
	}
	h.view.log.Error("a query failed", "view", h.view.name, "path", r.URL.Path, "error", err)
	problem.Write(w, problem.Details{Status: http.StatusInternalServerError, Detail: "the view cannot answer; its log says why"})
	return http.StatusInternalServerError
}

// refuse answers a request that makes no sense.
func refuse(w http.ResponseWriter, err error) int {
	details := problem.Details{Type: "urn:tidemill:malformed-query", Title: "The query makes no sense", Status: http.StatusBadRequest, Detail: err.Error()}
	if errors.Is(err, ErrCursor) {
		details.Type, details.Title = "urn:tidemill:malformed-cursor", "The cursor cannot be used"
	}
	problem.Write(w, details)
	return details.Status
}

// parameters are a request's query parameters.
type parameters struct{ values url.Values }

// parseParameters reads a query. One that names a parameter twice is refused.
func parseParameters(raw string) (parameters, error) {
	if raw == "" {
		return parameters{}, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return parameters{}, fmt.Errorf("the query cannot be read: %w", err)
	}
	for name, given := range values {
		if len(given) > 1 {
			return parameters{}, fmt.Errorf("the parameter %q is given more than once", name)
		}
	}
	return parameters{values}, nil
}

func (p parameters) has(name string) bool    { return p.values.Has(name) }
func (p parameters) text(name string) string { return p.values.Get(name) }

// token returns the text of the request's position token.
func (p parameters) token(r *http.Request) string {
	if p.has("token") {
		return p.text("token")
	}
	return r.Header.Get(HeaderToken)
}

// only returns an error for a parameter that does not belong here.
func (p parameters) only(names ...string) error {
	for name := range p.values {
		known := false
		for _, allowed := range names {
			known = known || name == allowed
		}
		if !known {
			return fmt.Errorf("the parameter %q does not belong here; possible are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}
