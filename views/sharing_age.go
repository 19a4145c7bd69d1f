package views

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
)

const (
	// ageRefresh is how old it may be what is known of a copy's age, while queries come, before it is looked at again.
	ageRefresh = 250 * time.Millisecond
	// ageIdle is when what is known says too little: then a query waits for a new look, at most ageWait.
	ageIdle = 2 * time.Second
	ageWait = 100 * time.Millisecond
	// ageLimit bounds a look. Processors that are behind for longer are looked after anew.
	ageLimit = 10 * time.Second
)

// ageUnknown is the age of a copy of which it was never known to hold all that had happened.
const ageUnknown = -1 * time.Nanosecond

// ageLook is a look at a partition that is under way: how far the processors on the way to its views are behind.
type ageLook struct {
	began time.Time
	done  chan struct{}
}

// age returns how long ago the local copies of a partition were known to hold all that had happened, or ageUnknown. Where
// processors stand between what happens and the views, that is found out only while queries come: not each of them waits for
// it, but the first one after a while, and not for long.
func (s *Sharing) age(ctx context.Context, number int32) time.Duration {
	age := s.knownAge(number)
	if !s.behindHops() || age >= 0 && age <= ageRefresh {
		return age
	}
	look := s.look(number)
	if look == nil || age >= 0 && age <= ageIdle {
		return age
	}
	timer := time.NewTimer(time.Until(look.began.Add(ageWait)))
	defer timer.Stop()
	select {
	case <-look.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.knownAge(number)
}

// knownAge is age without a look.
func (s *Sharing) knownAge(number int32) (age time.Duration) {
	for _, v := range s.all() {
		at := v.AsOf(number)
		if at.IsZero() {
			return ageUnknown
		}
		age = max(age, time.Since(at))
	}
	return age
}

// behindHops reports whether processors stand between what happens and a view.
func (s *Sharing) behindHops() bool {
	for _, v := range s.all() {
		if v.Hops() > 0 {
			return true
		}
	}
	return false
}

// look returns the look at a partition that is under way, a new one if there is none, nil if the partition is not held.
func (s *Sharing) look(number int32) *ageLook {
	s.mu.Lock()
	defer s.mu.Unlock()
	hold := s.holds[number]
	if hold == nil {
		return nil
	}
	if under := s.looks[number]; under != nil {
		return under
	}
	look := &ageLook{began: time.Now(), done: make(chan struct{})}
	s.looks[number] = look
	s.looking.Go(func() {
		ctx, cancel := context.WithTimeout(hold.ctx, ageLimit)
		defer cancel()
		if err := s.awaitAsOf(ctx, number, look.began); err != nil {
			s.log.Debug("how old the copies of a partition are could not be found out", "partition", number, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.looks, number)
		close(look.done)
	})
	return look
}

// awaitAsOf waits until all views' copies of a partition hold what had happened by a time. They wait side by side, for each
// follows it all the way.
func (s *Sharing) awaitAsOf(ctx context.Context, number int32, since time.Time) error {
	views := s.all()
	if len(views) == 1 {
		return views[0].AwaitAsOf(ctx, number, since)
	}
	var behind []*bridge.View
	for _, v := range views {
		if v.AsOf(number).Before(since) {
			behind = append(behind, v)
		}
	}
	errs := make([]error, len(behind))
	var group sync.WaitGroup
	for i, v := range behind {
		group.Go(func() { errs[i] = v.AwaitAsOf(ctx, number, since) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("partition %d: %w", number, err)
		}
	}
	return nil
}

// CatchUp returns once the local copies hold all that has happened by now, as far as that is held here. An instance that has its
// processor leave the group at its stop calls it after Drain: whoever waits here for something new is answered before the
// instance goes, since another one processes it by then. The error is ctx's.
func (s *Sharing) CatchUp(ctx context.Context) error {
	now := time.Now()
	s.mu.Lock()
	var numbers []int32
	for number := range s.holds {
		numbers = append(numbers, number)
	}
	s.mu.Unlock()
	var group sync.WaitGroup
	for _, number := range numbers {
		if s.held(number) {
			group.Go(func() { _ = s.awaitAsOf(ctx, number, now) }) // a copy that goes meanwhile is nobody's to wait for
		}
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting for what is new to %s: %w", s.config.Instance, err)
	}
	return nil
}

// tellAge says in an answer how old its state may be, in seconds; less than nothing is not known.
func tellAge(header http.Header, seconds float64) {
	if seconds >= 0 {
		header.Set(HeaderStaleness, strconv.FormatFloat(seconds, 'f', 3, 64))
	}
}
