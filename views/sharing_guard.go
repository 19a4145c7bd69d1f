package views

import (
	"maps"
	"net/http"
	"sync/atomic"
)

// guardedWriter passes an answer on, but for one: that the query was cut off or the copy is not there, where that is because
// the partition goes elsewhere in this moment. That answer is withheld, and the query asked there.
type guardedWriter struct {
	http.ResponseWriter
	gone     func() bool // the partition goes elsewhere
	before   http.Header // as it was before the handler
	begun    bool
	withheld bool
}

// guard returns a writer for a handler's answer. Only requests that may be repeated are withheld an answer.
func guard(w http.ResponseWriter, r *http.Request, gone func() bool) *guardedWriter {
	guarded := &guardedWriter{ResponseWriter: w, gone: gone, before: w.Header().Clone()}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		guarded.gone = func() bool { return false }
	}
	return guarded
}

// WriteHeader sends the header, or finds that this answer is to be withheld.
func (g *guardedWriter) WriteHeader(status int) {
	if g.withheld {
		return
	}
	if !g.begun && status == http.StatusServiceUnavailable && g.gone() {
		g.withheld = true
		clear(g.Header())
		maps.Copy(g.Header(), g.before)
		return
	}
	g.begun = g.begun || status >= http.StatusOK
	g.ResponseWriter.WriteHeader(status)
}

// Write sends a piece of the body.
func (g *guardedWriter) Write(data []byte) (int, error) {
	if g.withheld {
		return len(data), nil
	}
	g.begun = true
	return g.ResponseWriter.Write(data)
}

// Unwrap gives http.ResponseController the writer that flushes.
func (g *guardedWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// Flush sends what there is, for handlers that ask for an http.Flusher.
func (g *guardedWriter) Flush() {
	if g.withheld {
		return
	}
	g.begun = true
	// A writer that cannot flush sends what it has at the end.
	_ = http.NewResponseController(g.ResponseWriter).Flush()
}

// unansweredWriter counts a request for as long as its answer has not begun.
type unansweredWriter struct {
	http.ResponseWriter
	count *atomic.Int64
	begun bool
}

// unanswered counts a request until its answer begins; the caller calls begin when it has been served.
func (s *Sharing) unanswered(w http.ResponseWriter) *unansweredWriter {
	s.waiting.Add(1)
	return &unansweredWriter{ResponseWriter: w, count: &s.waiting}
}

func (u *unansweredWriter) begin() {
	if !u.begun {
		u.begun = true
		u.count.Add(-1)
	}
}

// WriteHeader sends the header.
func (u *unansweredWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		u.begin()
	}
	u.ResponseWriter.WriteHeader(status)
}

// Write sends a piece of the body.
func (u *unansweredWriter) Write(data []byte) (int, error) {
	u.begin()
	return u.ResponseWriter.Write(data)
}

// Unwrap gives http.ResponseController the writer beneath.
func (u *unansweredWriter) Unwrap() http.ResponseWriter { return u.ResponseWriter }
