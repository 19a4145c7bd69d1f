package views

import (
	"context"
	"slices"
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
	// ageBeside is how old it may be where nobody asks: whoever takes a partition over can say then how old its state is. It is
	// looked after every ageTick.
	ageBeside = 1500 * time.Millisecond
	ageTick   = 500 * time.Millisecond
	// ageLimit bounds a look. Processors that are behind for longer are looked after anew.
	ageLimit = 10 * time.Second
)

// ageLook is a look at a partition that is under way: how far the processors on the way to its views are behind.
type ageLook struct {
	began time.Time
	done  chan struct{}
}

// age returns how long before a moment the local copies of a partition were known to hold all that had happened, or ageUnknown. Where
// processors stand between what happens and the views, that is found out while queries come, and now and then without: none of them
// waits for it, unless it has not been found out for a while, and not for long then.
func (s *Sharing) age(ctx context.Context, number int32, at time.Time) time.Duration {
	views, numbers := s.all(), []int32{number}
	age := ageOf(views, numbers, at)
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
	return ageOf(views, numbers, at)
}

// lookAfter has it found out how old the copies are of which that has not been known for a while, and, of partitions without a copy that
// is ready, how old one would be that is where the changelogs end: it may come here from one moment to the next.
func (s *Sharing) lookAfter(ctx context.Context, partitions int32, now time.Time) {
	if !s.behindHops() {
		return // the views know by themselves
	}
	views := s.all()
	for number := range partitions {
		if s.held(number) {
			if age := ageOf(views, []int32{number}, now); age < 0 || age > ageBeside {
				s.look(number)
			}
		} else if slices.ContainsFunc(views, func(v *bridge.View) bool { return v.Hops() > 0 && now.Sub(v.Foreseen(number)) > ageBeside }) {
			s.foresee(ctx, number)
		}
	}
}

// foresee has it found out where a partition's changelogs end once they hold all that has happened by now.
func (s *Sharing) foresee(ctx context.Context, number int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreseeing[number] {
		return
	}
	s.foreseeing[number] = true
	s.looking.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, ageLimit)
		defer cancel()
		var group sync.WaitGroup
		for _, v := range s.views {
			group.Go(func() {
				if err := v.Foresee(ctx, number); err != nil {
					s.log.Debug("where a partition ends could not be found out", "partition", number, "error", err)
				}
			})
		}
		group.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.foreseeing, number)
	})
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
		if err := awaitAsOf(ctx, s.all(), []int32{number}, look.began); err != nil {
			s.log.Debug("how old the copies of a partition are could not be found out", "partition", number, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.looks, number)
		close(look.done)
	})
	return look
}
