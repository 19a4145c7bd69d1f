package commands

import (
	"net/http"

	"github.com/tidemill/tidemill/internal/problem"
)

// Problems serves a mux and answers what it has no route for with application/problem+json, 404 or 405, in place of
// the mux's plain text.
func Problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux tells 404 from 405, and the allowed methods, only by answering.
		var probe probe
		mux.ServeHTTP(&probe, r)
		switch {
		case probe.status == http.StatusMethodNotAllowed:
			problem.MethodNotAllowed(w, r, probe.Header().Get("Allow"))
		case probe.status >= 300 && probe.status < 400:
			w.Header().Set("Location", probe.Header().Get("Location"))
			w.WriteHeader(probe.status)
		default:
			problem.NotFound(w, r)
		}
	})
}

// probe takes an answer's status and headers and drops the rest.
type probe struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (p *probe) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}

// Write implements http.ResponseWriter.
func (p *probe) Write(data []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return len(data), nil
}

// WriteHeader implements http.ResponseWriter.
func (p *probe) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}
