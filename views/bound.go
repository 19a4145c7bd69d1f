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

// parameterMaxStaleness says what HeaderMaxStaleness does.
const parameterMaxStaleness = "max_staleness"

// staleness is what a query says of how old its answer may be. It counts from when the query came.
type staleness struct {
	max   time.Duration
	given bool
}

// errMaxStaleness says that a request's bound of staleness cannot be read.
var errMaxStaleness = errors.New("max_staleness must be a duration such as 500ms, or a number of seconds, and given once")

// boundKey is the context key of the text of a bound that was taken from a request's parameters.
type boundKey struct{}

// takeStaleness reads the bound from a request and returns the request without its parameter.
func takeStaleness(r *http.Request) (*http.Request, staleness, error) {
	given := r.Header[HeaderMaxStaleness]
	if strings.Contains(r.URL.RawQuery, parameterMaxStaleness) {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return r, staleness{}, fmt.Errorf("the query cannot be read: %w", err)
		}
		if values.Has(parameterMaxStaleness) {
			given = append(given[:len(given):len(given)], values[parameterMaxStaleness]...)
			r = r.Clone(context.WithValue(r.Context(), boundKey{}, values.Get(parameterMaxStaleness)))
			values.Del(parameterMaxStaleness)
			r.URL.RawQuery = values.Encode()
		}
	}
	if len(given) == 0 {
		return r, staleness{}, nil
	}
	if len(given) > 1 {
		return r, staleness{}, errMaxStaleness
	}
	bound, err := time.ParseDuration(given[0])
	if err != nil {
		seconds, err := strconv.ParseFloat(given[0], 64)
		if err != nil || !(seconds < 1e9) { // not a number either
			return r, staleness{}, errMaxStaleness
		}
		bound = time.Duration(seconds * float64(time.Second))
	}
	if bound < 0 {
		return r, staleness{}, errMaxStaleness
	}
	return r, staleness{max: bound, given: true}, nil
}

// following is the query of the page after one, with the bound if it was a parameter.
func following(r *http.Request, p parameters, next string) string {
	values := p.values
	values.Del("token")
	values.Set("cursor", next)
	if bound, found := r.Context().Value(boundKey{}).(string); found {
		values.Set(parameterMaxStaleness, bound)
	}
	return values.Encode()
}

// behind returns the copies, by view and partition, that are not known to hold all that had happened by a time.
func behind(views []*bridge.View, numbers []int32, since time.Time) (copies []copyOf) {
	for _, v := range views {
		for _, number := range numbers {
			if v.AsOf(number).Before(since) {
				copies = append(copies, copyOf{v, number})
			}
		}
	}
	return copies
}

// copyOf is a view's local copy of a partition.
type copyOf struct {
	view   *bridge.View
	number int32
}

// awaitAsOf waits until the local copies of some partitions hold what had happened by a time, which must not lie in the future. They
// wait side by side, for each follows it all the way.
func awaitAsOf(ctx context.Context, views []*bridge.View, numbers []int32, since time.Time) error {
	copies := behind(views, numbers, since)
	if len(copies) == 1 {
		return copies[0].view.AwaitAsOf(ctx, copies[0].number, since)
	}
	errs := make([]error, len(copies))
	var group sync.WaitGroup
	for i, c := range copies {
		group.Go(func() { errs[i] = c.view.AwaitAsOf(ctx, c.number, since) })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("partition %d: %w", copies[i].number, err)
		}
	}
	return nil
}

// ageUnknown is the age of a copy of which it was never known to hold all that had happened.
const ageUnknown = -1 * time.Nanosecond

// ageOf returns how long before a moment the local copies of some partitions were known to hold all that had happened: 0 where
// that is known of the moment itself, ageUnknown where it is known of none.
func ageOf(views []*bridge.View, numbers []int32, moment time.Time) (age time.Duration) {
	for _, v := range views {
		for _, number := range numbers {
			at := v.AsOf(number)
			if at.IsZero() {
				return ageUnknown
			}
			age = max(age, moment.Sub(at))
		}
	}
	return age
}

// tellAge says in an answer how old its state may be, in seconds; less than nothing is not known. It is rounded down, so that it does
// not exceed a bound that the state is within.
func tellAge(header http.Header, seconds float64) {
	if seconds >= 0 {
		micros := int64(seconds * 1e6)
		header.Set(HeaderStaleness, fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6))
	}
}

// Any is a *View, of whatever keys and values.
type Any interface {
	local() *bridge.View
	sharedBy() *Sharing
}

func (v *View[K, V]) local() *bridge.View { return v.bridge }
func (v *View[K, V]) sharedBy() *Sharing  { return v.sharing }

// Routed is View.Routed for a handler that reads several views. They are of one Sharing, or of none.
func Routed(partition func(*http.Request) (int32, error), h http.Handler, reads ...Any) http.Handler {
	b := &bounded{partition: partition, handler: h}
	for _, view := range reads {
		if sharing := view.sharedBy(); sharing != nil {
			return sharing.Routed(partition, h)
		}
		b.views = append(b.views, view.local())
	}
	return b
}

// bounded has a handler answer from full copies, once they are within the request's bound.
type bounded struct {
	partition func(*http.Request) (int32, error)
	handler   http.Handler
	views     []*bridge.View
}

// deadlineKey is the context key of when a request has waited as long as it may.
type deadlineKey struct{}

// ServeHTTP answers a request.
func (b *bounded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	came := time.Now()
	r, bound, err := takeStaleness(r)
	if err != nil {
		refuse(w, err)
		return
	}
	if !bound.given {
		b.handler.ServeHTTP(w, r)
		return
	}
	number, err := b.partition(r)
	switch {
	case errors.Is(err, ErrNotReady):
		Refuse(w, r, err)
		return
	case err != nil:
		refuse(w, err)
		return
	}
	wait := sharingWait(r)
	r = r.WithContext(context.WithValue(r.Context(), deadlineKey{}, came.Add(wait)))
	ctx, cancel := context.WithDeadline(r.Context(), came.Add(wait))
	defer cancel()
	switch err := keepBound(ctx, w, bound, came, b.views, []int32{number}); {
	case err == nil:
		b.handler.ServeHTTP(w, r)
	case bridge.AwaitTimedOut(err) && r.Context().Err() == nil:
		tooOld(w, wait, []int32{number})
	default:
		Refuse(w, r, err)
	}
}

// keepBound waits until local copies are within the bound of a query that came at some time, and says in its answer how old they are
// then. The error is ctx's where that takes too long, or wraps ErrNotReady.
func keepBound(ctx context.Context, w http.ResponseWriter, bound staleness, came time.Time, views []*bridge.View, numbers []int32) error {
	if len(numbers) == 0 {
		return fmt.Errorf("the number of partitions: %w", ErrNotReady)
	}
	err := awaitAsOf(ctx, views, numbers, came.Add(-bound.max))
	if err == nil {
		tellAge(w.Header(), ageOf(views, numbers, came).Seconds())
		return nil
	}
	for _, v := range views {
		if !v.Recovered() {
			return fmt.Errorf("%w: %w", ErrNotReady, err)
		}
	}
	return err
}

// tooOld says that copies did not come to be within a query's bound in time, as a view says that is shared out.
func tooOld(w http.ResponseWriter, wait time.Duration, numbers []int32) {
	extra := map[string]any{"missing": numbers}
	if len(numbers) == 1 {
		extra = map[string]any{"partition": numbers[0]}
	}
	problem.Write(w, problem.Details{
		Type: "urn:tidemill:partition-unavailable", Title: "The view is older than asked for", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
		Detail: "the view was not known to be as fresh as asked for within " + wait.String() + "; ask again, or with a longer Prefer: wait",
		Extra:  extra,
	})
}

// awaitBound waits until what a query reads is within its bound. It returns 0 to go on, or the status it answered.
func (h *handler[K, V]) awaitBound(w http.ResponseWriter, r *http.Request, bound staleness, came time.Time, single bool, text string, p parameters) int {
	numbers, err := h.reads(single, text, p)
	if err != nil {
		return 0 // whoever answers the query says what is wrong with it
	}
	wait := h.waits(w, r)
	ctx, cancel := context.WithDeadline(r.Context(), came.Add(wait))
	defer cancel()
	err = keepBound(ctx, w, bound, came, []*bridge.View{h.view.bridge}, numbers)
	switch {
	case err == nil:
		return 0
	case bridge.AwaitTimedOut(err) && r.Context().Err() == nil && !errors.Is(err, ErrNotReady):
		tooOld(w, wait, numbers)
		return http.StatusServiceUnavailable
	}
	return h.fail(w, r, err)
}

// reads returns the partitions that a query reads.
func (h *handler[K, V]) reads(single bool, text string, p parameters) ([]int32, error) {
	if single {
		key, err := h.ParseKey(text)
		if err != nil {
			return nil, err
		}
		number, err := h.view.PartitionOf(key)
		if errors.Is(err, ErrNotReady) {
			return nil, nil
		}
		return []int32{number}, err
	}
	query, err := h.query(p)
	if err != nil {
		return nil, err
	}
	bounds, err := h.view.bounds(query)
	if err != nil {
		return nil, err
	}
	count := h.view.bridge.Partitions()
	if p.has(parameterPartition) {
		number, err := parsePartition(p.text(parameterPartition))
		if err == nil && number >= count {
			err = errors.New("there is no such partition")
		}
		return []int32{number}, err
	}
	if number, one := h.view.bridge.Within(bounds.from, bounds.to); one {
		return []int32{number}, nil
	}
	numbers := make([]int32, count)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	return numbers, nil
}
