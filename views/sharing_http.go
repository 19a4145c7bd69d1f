package views

import (
	"net/http"
	"strings"
)

// sharedHandler serves a view that is shared out: what can be told from here it answers by the view's own handler, on the
// instance that holds the key.
type sharedHandler[K, V any] struct {
	*handler[K, V]
	sharing *Sharing
}

// ServeHTTP answers one query, here or elsewhere.
func (h *sharedHandler[K, V]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, found := strings.CutPrefix(r.URL.Path, h.Path)
	if !found || (rest != "" && rest[0] != '/') || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		h.handler.ServeHTTP(w, r) // it says what is wrong
		return
	}
	counted := h.sharing.unanswered(w)
	defer counted.begin()
	w = counted
	inner, bound, err := takeStaleness(r)
	if err != nil {
		refuse(w, err)
		return
	}
	parameters, err := parseParameters(inner.URL.RawQuery)
	if err != nil {
		h.handler.ServeHTTP(w, r)
		return
	}
	text := strings.TrimPrefix(rest, "/")
	if text == "" && !parameters.has("key") {
		h.serveAll(w, inner, r, parameters, bound)
		return
	}
	if text == "" {
		text = parameters.text("key")
	}
	key, err := h.ParseKey(text)
	if err != nil {
		h.handler.ServeHTTP(w, inner)
		return
	}
	encoded, err := h.view.keys.Append(nil, key)
	if err != nil {
		h.handler.ServeHTTP(w, inner)
		return
	}
	h.sharing.serve(w, r, h.asking(r, parameters, h.view.bridge.PartitionOf(encoded), bound), h.local())
}

// asking is what a query asks of sharing.
func (h *sharedHandler[K, V]) asking(r *http.Request, parameters parameters, number int32, bound staleness) asking {
	wait, asked := preferredWait(r.Header["Prefer"])
	if !asked {
		wait = h.Wait
	}
	wait = min(wait, h.MaxWait)
	limit := forwardLimit
	if parameters.has("token") || len(r.Header[HeaderToken]) > 0 || wantsEvents(r) {
		limit += wait
	}
	return asking{partition: number, bound: bound, wait: max(wait, forwardLimit), limit: limit}
}

// local is the view's own handler, without the parameter that is not its own.
func (h *sharedHandler[K, V]) local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, _, _ := takeStaleness(r) // it has been read once
		h.handler.ServeHTTP(w, inner)
	})
}
