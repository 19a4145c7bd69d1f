package views

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/forward"
	"github.com/tidemill/tidemill/internal/problem"
)

// The headers of bounds, and of shared views, beside those of all.
const (
	// HeaderMaxStaleness says, in a request, how old the answer's state may be: a duration such as "500ms" or a number of
	// seconds. The parameter max_staleness says the same.
	HeaderMaxStaleness = "Tidemill-Max-Staleness"
	// HeaderStaleness says, in an answer, how many seconds before the request came the state it was given from was known to hold everything
	// that had happened: all that could be read in the topics that the view follows from, by way of the processors between
	// (Processor.Then). It is 0 where the request waited for what had happened by then, and never exceeds its bound. It is absent where
	// that is not known, and where a view that is not shared out was asked without a bound.
	HeaderStaleness = "Tidemill-Staleness"
	// HeaderInstance names the instance that gave the answer.
	HeaderInstance = "Tidemill-Instance"
)

const (
	// forwardLimit is how long an instance may take to begin an answer before another one is asked, where there is one.
	forwardLimit = 500 * time.Millisecond
	// dispelLimit is how long a query waits for the brokers where the instance may have lost its partitions unheard.
	dispelLimit = 250 * time.Millisecond
)

// readKey is the context key of the partitions that a request reads.
type readKey struct{}

// reading returns the partitions that a request reads on this instance, none for all.
func reading(ctx context.Context) []int32 {
	numbers, _ := ctx.Value(readKey{}).([]int32)
	return numbers
}

// fresh waits until the local copies of a partition may answer a query, and returns how old they were when it came, or ageUnknown: they
// are younger when it has waited, and never older than its bound. An
// owner's may as they are, once they have caught up with the changelogs as of the moment it became the owner, and as long as
// they are not behind those for longer than MaxStaleness; others' only as fresh as the changelogs are now. If the query names
// a bound, it counts against what has happened: what processors on the way have not done yet is waited for. The error
// wraps ErrElsewhere if the copies are not held.
func (s *Sharing) fresh(ctx context.Context, number int32, bound staleness) (age time.Duration, err error) {
	now := time.Now()
	s.mu.Lock()
	hold := s.holds[number]
	since, owned := s.since[number]
	s.mu.Unlock()
	if hold == nil {
		return 0, fmt.Errorf("partition %d: %w", number, ErrElsewhere)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(hold.ctx, cancel)() // whoever waits for a copy that goes is to ask elsewhere
	if !s.held(number) {
		return 0, fmt.Errorf("partition %d: %w", number, ErrElsewhere)
	}
	if bound.given {
		if oldest := now.Add(-bound.max); s.olderThan(number, oldest) {
			err := awaitAsOf(ctx, s.all(), []int32{number}, oldest)
			s.metrics.waits.Observe(time.Since(now).Seconds())
			if err != nil {
				return 0, err
			}
		}
		return s.age(ctx, number, now), nil
	}
	oldest := now
	if owned {
		if oldest = now.Add(-s.config.MaxStaleness); oldest.Before(since) {
			oldest = since
		}
		s.dispel(ctx, number, now)
	}
	for _, v := range s.all() {
		if v.FreshAt(number).Before(oldest) {
			err := v.AwaitFresh(ctx, number, oldest)
			s.metrics.waits.Observe(time.Since(now).Seconds())
			if err != nil {
				return 0, err
			}
		}
	}
	return s.age(ctx, number, now), nil
}

// olderThan reports whether a local copy of a partition is not known to hold all that had happened by a time.
func (s *Sharing) olderThan(number int32, at time.Time) bool {
	return len(behind(s.all(), []int32{number}, at)) > 0
}

// dispel has an owner's copies caught up with the log where the group may have given the partition to another one
// meanwhile: this instance was stopped for longer than the session time-out, or is cut off. Where the brokers cannot be
// asked, MaxStaleness is what bounds its answers.
func (s *Sharing) dispel(ctx context.Context, number int32, now time.Time) {
	s.mu.Lock()
	doubtful := s.member != nil && now.Sub(s.member.Confirmed()) > s.config.SessionTimeout && now.After(s.doubtless)
	s.mu.Unlock()
	if !doubtful {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dispelLimit)
	defer cancel()
	for _, v := range s.all() {
		if err := v.AwaitFresh(ctx, number, now); err != nil {
			s.mu.Lock()
			s.doubtless = time.Now().Add(time.Second) // the brokers do not answer: not every query is to wait for them
			s.mu.Unlock()
			return
		}
	}
}

// bases returns where a partition can be asked for, the best first: its owner, its standbys, and last who could not be
// reached a moment ago. here tells at which place among them this instance is; -1 if it cannot answer.
func (s *Sharing) bases(number int32) (bases []string, here int) {
	current, _ := s.now()
	here = -1
	if current == nil || int(number) >= len(current.Partitions) {
		return nil, here
	}
	var last []string
	holders := &current.Partitions[number]
	for _, name := range append([]string{holders.Owner}, holders.Standbys...) {
		base := current.URL(name)
		switch {
		case name == s.config.Instance:
			if s.held(number) {
				here = len(bases)
			}
		case s.forward.Suspect(base):
			last = append(last, base)
		default:
			bases = append(bases, base)
		}
	}
	return append(bases, last...), here
}

// prefersRedirect reports whether a request asks for "Prefer: redirect".
func prefersRedirect(r *http.Request) bool {
	for _, header := range r.Header["Prefer"] {
		for preference := range strings.SplitSeq(header, ",") {
			if name, _, _ := strings.Cut(preference, ";"); strings.EqualFold(strings.TrimSpace(name), "redirect") {
				return true
			}
		}
	}
	return false
}

// asking is what a request asks of sharing.
type asking struct {
	partition int32
	bound     staleness
	wait      time.Duration // for somebody who can answer
	limit     time.Duration // for an instance to begin its answer, where another one could
}

// serve has a request about a partition answered, here or elsewhere: local answers it here. It waits until
// somebody can.
func (s *Sharing) serve(w http.ResponseWriter, r *http.Request, ask asking, local http.Handler) {
	if forward.Forwarded(r) {
		s.serveForwarded(w, r, ask, local)
		return
	}
	if err := forward.KeepBody(r); err != nil {
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	deadline := time.Now().Add(ask.wait)
	var last error
	for {
		_, changed := s.now()
		done, err := s.attempt(w, r, ask, deadline, local)
		if done {
			return
		}
		if err != nil {
			last = err
		}
		left := time.Until(deadline)
		if left <= 0 || r.Context().Err() != nil || (r.Body != nil && r.Body != http.NoBody && r.GetBody == nil) {
			s.fail(w, ask.partition, last)
			return
		}
		select {
		case <-changed:
		case <-time.After(min(left, 20*time.Millisecond)):
		case <-r.Context().Done():
		}
	}
}

// attempt tries everybody who has the partition once. done tells that the request has been answered.
func (s *Sharing) attempt(w http.ResponseWriter, r *http.Request, ask asking, deadline time.Time, local http.Handler) (done bool, err error) {
	bound := ask.bound
	bases, here := s.bases(ask.partition)
	if here < 0 && bound.given && s.held(ask.partition) {
		here = len(bases) // not in the map any more or not yet; good enough if it is fresh
	}
	if here == 0 || (here > 0 && bound.given && s.freshNow(ask.partition, bound)) {
		if done, err = s.here(w, r, ask, deadline, local); done {
			return true, nil
		}
	}
	if len(bases) > 0 {
		if prefersRedirect(r) && here != 0 {
			for _, base := range bases {
				unreachable := s.forward.Probe(r.Context(), base, forwardLimit)
				if unreachable == nil {
					s.redirect(w, r, base)
					return true, nil
				}
				err = errors.Join(err, unreachable)
			}
			bases = nil
		}
	}
	if len(bases) > 0 {
		if r.GetBody != nil {
			r.Body, _ = r.GetBody() // of bytes in memory: it cannot fail
		}
		last := time.Duration(0)
		if here > 0 {
			last = ask.limit // this instance can answer as well
		}
		elsewhere := s.forward.Serve(w, r, ask.limit, last, bases...)
		if elsewhere == nil {
			s.metrics.answered(wayForward)
			return true, nil
		}
		err = errors.Join(err, elsewhere)
	}
	if here > 0 {
		done, local := s.here(w, r, ask, deadline, local)
		return done, errors.Join(err, local)
	}
	return false, err
}

// freshNow reports whether the local copies are within a bound without being looked after.
func (s *Sharing) freshNow(number int32, bound staleness) bool {
	return !s.olderThan(number, time.Now().Add(-bound.max))
}

// here answers a request on this instance, once its copies are fresh enough.
func (s *Sharing) here(w http.ResponseWriter, r *http.Request, ask asking, deadline time.Time, local http.Handler) (done bool, err error) {
	number := ask.partition
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	age, err := s.fresh(ctx, number, ask.bound)
	late := ctx.Err() != nil && r.Context().Err() == nil
	cancel()
	if err != nil {
		if reads := r.Method == http.MethodGet || r.Method == http.MethodHead; !reads || !late || ask.bound.given || !s.bearable(number) {
			return false, err
		}
		age = s.age(r.Context(), number, time.Now()) // it has waited in vain
	}
	s.mu.Lock()
	hold, owned := s.holds[number], !s.since[number].IsZero()
	s.mu.Unlock()
	if hold == nil {
		return false, fmt.Errorf("partition %d: %w", number, ErrElsewhere)
	}
	reading, end := context.WithCancel(context.WithValue(context.WithValue(r.Context(), readKey{}, []int32{number}), heldKey{}, hold.ctx))
	defer end()
	defer context.AfterFunc(hold.ctx, end)()
	guarded := guard(w, r, func() bool {
		return s.leaving(r) || r.Context().Err() == nil && (hold.ctx.Err() != nil || !s.held(number))
	})
	w = guarded
	w.Header().Set(HeaderInstance, s.config.Instance)
	tellAge(w.Header(), age.Seconds())
	local.ServeHTTP(w, r.WithContext(reading))
	if guarded.withheld {
		return false, fmt.Errorf("partition %d has gone while it was read: %w", number, ErrElsewhere)
	}
	if owned {
		s.metrics.answered(wayOwner)
	} else {
		s.metrics.answered(wayStandby)
	}
	return true, nil
}

// bearable reports whether a standby's copies may answer a query that names no bound when its time is up, although they are not
// known to be level with the changelogs: as an owner's may, within MaxStaleness. An owner that has not caught up with the moment it
// became one may not.
func (s *Sharing) bearable(number int32) bool {
	s.mu.Lock()
	owned := !s.since[number].IsZero()
	s.mu.Unlock()
	if owned || !s.held(number) {
		return false
	}
	oldest := time.Now().Add(-s.config.MaxStaleness)
	for _, v := range s.all() {
		if v.FreshAt(number).Before(oldest) {
			return false
		}
	}
	return true
}

// serveForwarded answers what another instance has forwarded, or says that this one cannot.
func (s *Sharing) serveForwarded(w http.ResponseWriter, r *http.Request, ask asking, local http.Handler) {
	done, err := s.here(w, r, ask, time.Now().Add(ask.wait), local)
	if !done {
		s.metrics.answered(wayRefused)
		forward.Misdirect(w, s.config.Instance, reason(err))
	}
}

// reason is an error as the value of a header.
func reason(err error) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, err.Error())
}

// redirect sends the client to another instance.
func (s *Sharing) redirect(w http.ResponseWriter, r *http.Request, base string) {
	s.metrics.answered(wayRedirect)
	w.Header().Set("Location", base+r.URL.RequestURI())
	w.Header().Set("Preference-Applied", "redirect")
	w.Header().Add("Vary", "Prefer")
	w.Header().Set(HeaderInstance, s.config.Instance)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// fail says that nobody could answer in time.
func (s *Sharing) fail(w http.ResponseWriter, number int32, err error) {
	s.metrics.answered(wayFailed)
	s.log.Debug("nobody could answer for a partition", "partition", number, "error", err)
	details := problem.Details{
		Type: "urn:tidemill:partition-unavailable", Title: "The partition is not available", Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
		Detail: "no instance could answer for the key's partition as fresh as asked for; ask again in a moment",
		Extra:  map[string]any{"partition": number},
	}
	if current, _ := s.now(); current == nil {
		details.Detail = "this instance does not know yet where the partitions are; ask again in a moment"
	} else if int(number) < len(current.Partitions) && number >= 0 {
		details.Extra["owner"] = current.Partitions[number].Owner
	}
	problem.Write(w, details)
}
