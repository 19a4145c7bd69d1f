// Package problem writes HTTP errors as application/problem+json (RFC 9457), the one form of error that every HTTP
// surface of Tidemill answers with.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// ContentType is the media type of a problem document.
const ContentType = "application/problem+json"

// Blank is the Type of a problem that says no more than its status does (RFC 9457, section 4.2.1).
const Blank = "about:blank"

// Details is one problem document. The zero Type means Blank; the zero Title means the status's own text; the zero
// Status means 500.
type Details struct {
	// Type is a URI reference that names the kind of problem.
	Type string
	// Title is a short summary of the kind of problem; it does not change from occurrence to occurrence.
	Title string
	// Status is the HTTP status code, also written as the response's status.
	Status int
	// Detail says what went wrong this time and what to do about it.
	Detail string
	// Instance is a URI reference that names this occurrence.
	Instance string
	// RetryAfter, when positive, is sent as the Retry-After header, in whole seconds rounded up.
	RetryAfter time.Duration
	// Extra holds extension members. Names that RFC 9457 defines are ignored here; values must be encodable as JSON.
	Extra map[string]any
}

// Write answers a request with the problem: status, headers and document. It must be called before anything else has
// been written to w. Headers that describe a body that is not sent (ETag, Last-Modified, Content-Length and the like)
// are removed; an error is never stored by caches.
func Write(w http.ResponseWriter, details Details) {
	if details.Status == 0 {
		details.Status = http.StatusInternalServerError
	}
	body := Append(nil, details)
	header := w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Content-Encoding", "Content-Range"} {
		header.Del(name)
	}
	header.Set("Content-Type", ContentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if details.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((details.RetryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(details.Status)
	// The client is gone when this fails; nobody is left to be told.
	_, _ = w.Write(body)
}

// Append appends the problem's JSON document to dst: RFC 9457's members, then the extension members in the order of
// their names. A set of extension members that JSON cannot hold is left out.
func Append(dst []byte, details Details) []byte {
	if details.Status == 0 {
		details.Status = http.StatusInternalServerError
	}
	if details.Type == "" {
		details.Type = Blank
	}
	if details.Title == "" {
		details.Title = http.StatusText(details.Status)
	}
	standard, err := json.Marshal(struct {
		Type     string `json:"type"`
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Detail   string `json:"detail,omitempty"`
		Instance string `json:"instance,omitempty"`
	}{details.Type, details.Title, details.Status, details.Detail, details.Instance})
	if err != nil {
		// Strings and an integer: encoding/json replaces invalid UTF-8 and has nothing else to refuse.
		return append(dst, `{"type":"about:blank"}`...)
	}
	dst = append(dst, standard...)
	extra := make(map[string]any, len(details.Extra))
	for name, value := range details.Extra {
		switch name {
		case "type", "title", "status", "detail", "instance":
		default:
			extra[name] = value
		}
	}
	if len(extra) == 0 {
		return dst
	}
	extensions, err := json.Marshal(extra)
	if err != nil {
		return dst
	}
	dst[len(dst)-1] = ','
	return append(dst, extensions[1:]...)
}

// NotFound is the handler for paths that no route has.
func NotFound(w http.ResponseWriter, r *http.Request) {
	Write(w, Details{Status: http.StatusNotFound, Detail: "there is nothing at " + r.URL.Path})
}

// MethodNotAllowed answers 405 and names the methods that the resource has, as RFC 9110 (section 15.5.6) asks.
func MethodNotAllowed(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", allowed)
	Write(w, Details{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not allowed here; use " + allowed})
}
