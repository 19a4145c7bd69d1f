package views

import (
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// headers say what state an answer was given from.
type headers struct{ position, lag string }

func (s headers) set(header http.Header) {
	values := [2]string{s.position, s.lag}
	header[HeaderPosition], header[HeaderLag] = values[0:1:1], values[1:2:2]
}

// standing describes positions of partitions.
func (h *handler[K, V]) standing(at standing) headers {
	var text []byte
	lag := int64(0)
	for number, position := range at.positions {
		if number > 0 {
			text = append(text, ',')
		}
		if at.numbers != nil {
			number = int(at.numbers[number])
		}
		text = strconv.AppendInt(text, int64(number), 10)
		text = strconv.AppendInt(append(text, ':'), position, 10)
		lag += h.view.bridge.Lag(int32(number))
	}
	return headers{position: string(text), lag: strconv.FormatInt(lag, 10)}
}

var (
	contentTypeJSON = []string{"application/json"}
	// Stored copies may be used after asking whether they are still right.
	cacheControl = []string{"no-cache"}
	// A stream of changes has the same address.
	vary = []string{"Accept"}
)

// answer sends a body, or 304 where the client has it already. The header's values share one allocation.
func answer(w http.ResponseWriter, r *http.Request, body []byte, standing headers) int {
	tag := entityTag(body)
	values := [4]string{tag, standing.position, standing.lag, strconv.Itoa(len(body))}
	header := w.Header()
	header["Etag"] = values[0:1:1]
	header[HeaderPosition] = values[1:2:2]
	header[HeaderLag] = values[2:3:3]
	header["Cache-Control"], header["Vary"] = cacheControl, vary
	if conditions := r.Header["If-None-Match"]; len(conditions) > 0 && matches(conditions, tag) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	header["Content-Type"] = contentTypeJSON
	header["Content-Length"] = values[3:4:4]
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		// The client is gone when this fails; nobody is left to be told.
		_, _ = w.Write(body)
	}
	return http.StatusOK
}

// entityTag returns a strong validator: equal for equal bodies, on any instance and after any restart.
func entityTag(body []byte) string {
	hash := sha256.Sum256(body)
	var text [2 + 20]byte
	text[0], text[len(text)-1] = '"', '"'
	base64.RawURLEncoding.Encode(text[1:len(text)-1], hash[:15])
	return string(text[:])
}

// matches reports whether an If-None-Match header names a tag (RFC 9110, section 13.1.2: by weak comparison).
func matches(conditions []string, tag string) bool {
	for _, condition := range conditions {
		for candidate := range strings.SplitSeq(condition, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// preferredWait reads the preference wait from Prefer headers (RFC 7240, section 4.3), in seconds with an optional
// fraction. As that RFC asks, what cannot be understood is ignored, and the first one counts.
func preferredWait(preferences []string) (wait time.Duration, asked bool) {
	for _, header := range preferences {
		for preference := range strings.SplitSeq(header, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseFloat(strings.Trim(strings.TrimSpace(value), `"`), 64)
			if err != nil || seconds < 0 || math.IsNaN(seconds) {
				continue
			}
			return time.Duration(min(seconds, 1e6) * float64(time.Second)), true
		}
	}
	return 0, false
}
