// Package prefer reads the Prefer header (RFC 7240) as far as the write side honours it: wait and respond-async.
package prefer

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait keeps the seconds of a wait within a time.Duration; what a server is willing to wait is less by far.
const maxWait = 1 << 31

// Preferences are those that were asked for and understood. What is not understood is ignored, as the RFC demands.
type Preferences struct {
	// RespondAsync asks not to wait for the outcome.
	RespondAsync bool
	// Wait is how long the client is willing to wait, if HasWait.
	Wait    time.Duration
	HasWait bool
}

// Parse reads all Prefer headers. Of a preference given twice the first counts (RFC 7240, section 2).
func Parse(header http.Header) Preferences {
	var p Preferences
	for _, line := range header.Values("Prefer") {
		for _, preference := range split(line, ',') {
			// Parameters follow the preference after a semicolon; neither of ours has any.
			name, value, _ := strings.Cut(split(preference, ';')[0], "=")
			p.take(strings.ToLower(strings.TrimSpace(name)), unquote(strings.TrimSpace(value)))
		}
	}
	return p
}

func (p *Preferences) take(name, value string) {
	switch name {
	case "respond-async":
		p.RespondAsync = true
	case "wait":
		// The RFC has whole seconds; a fraction is taken too, as views take one.
		seconds, err := strconv.ParseFloat(value, 64)
		if err == nil && !p.HasWait && seconds >= 0 && seconds < maxWait && strings.Trim(value, "0123456789.") == "" {
			p.Wait, p.HasWait = time.Duration(seconds*float64(time.Second)), true
		}
	}
}

// split cuts at a separator outside of quotes; it returns at least one part.
func split(text string, separator byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '\\' && quoted:
			i++
		case text[i] == separator && !quoted:
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

func unquote(text string) string {
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		return text[1 : len(text)-1]
	}
	return text
}

// Seconds returns a wait as the header's value has it.
func Seconds(wait time.Duration) string {
	return strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)
}
