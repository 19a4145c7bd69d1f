package pages

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// awayFor is for how long an instance that could not be reached is asked last.
const awayFor = 2 * time.Second

// instances are those of one service, as a transport: a request goes to one of them, and, where that cannot be reached, to the next one. They
// take turns. It is safe for concurrent use.
type instances struct {
	transport http.RoundTripper
	bases     []*url.URL
	turn      atomic.Uint32

	mu   sync.Mutex
	away map[*url.URL]time.Time // guarded by mu: since when
}

// order returns the instances in the order in which to ask them.
func (i *instances) order() []*url.URL {
	first := int(i.turn.Add(1)-1) % len(i.bases)
	order := slices.Concat(i.bases[first:], i.bases[:first])
	i.mu.Lock()
	defer i.mu.Unlock()
	slices.SortStableFunc(order, func(a, b *url.URL) int { return i.late(a) - i.late(b) })
	return order
}

// late is 1 for an instance that could not be reached a moment ago. The caller holds mu.
func (i *instances) late(base *url.URL) int {
	if time.Since(i.away[base]) < awayFor {
		return 1
	}
	return 0
}

// RoundTrip implements http.RoundTripper. What may have been acted on is not repeated.
func (i *instances) RoundTrip(r *http.Request) (*http.Response, error) {
	var failures []error
	for _, base := range i.order() {
		attempt := r.Clone(r.Context())
		attempt.URL.Scheme, attempt.URL.Host = base.Scheme, base.Host
		response, err := i.transport.RoundTrip(attempt)
		if err == nil {
			return response, nil
		}
		if failures = append(failures, err); r.Context().Err() != nil {
			break
		}
		i.mu.Lock()
		i.away[base] = time.Now()
		i.mu.Unlock()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			break
		}
	}
	return nil, errors.Join(failures...)
}
