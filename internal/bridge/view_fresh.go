package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// viewFresh keeps how fresh the copies are: when each was last known to hold all that was committed then. Whoever
// needs it fresher has the broker asked where the partition ends now; one goroutine asks for all who wait.
type viewFresh struct {
	view *View
	wake chan struct{} // of capacity 1: there is a new waiter

	mu      sync.Mutex
	waiters map[int32][]viewFreshWaiter // guarded by mu
}

// viewFreshWaiter is someone who wants to know where a partition ends.
type viewFreshWaiter struct {
	ctx    context.Context // the waiting ends with it
	answer chan viewEnd    // of capacity 1
}

// viewEnd says that a partition's last stable offset was end at some time after asked.
type viewEnd struct {
	end   int64
	asked time.Time
}

func newViewFresh(v *View) *viewFresh {
	return &viewFresh{view: v, wake: make(chan struct{}, 1), waiters: make(map[int32][]viewFreshWaiter)}
}

// FreshAt returns a time at which the local copy of a partition held everything that was committed: what is read from
// now on is not older than that. The zero time says that it is not known.
func (v *View) FreshAt(number int32) time.Time {
	if p := v.partition(number); p != nil {
		if at := p.fresh.Load(); at != nil {
			return *at
		}
	}
	return time.Time{}
}

// AwaitFresh returns once the local copy of a partition is not older than the given time, which must not lie in the future. The
// error wraps ErrViewElsewhere when the partition is not held, or ctx's error.
func (v *View) AwaitFresh(ctx context.Context, number int32, since time.Time) error {
	p := v.partition(number)
	if p == nil || !p.held.Load() {
		return fmt.Errorf("partition %d: %w", number, ErrViewElsewhere)
	}
	if !v.FreshAt(number).Before(since) {
		return nil
	}
	end, err := v.freshness.ask(ctx, number)
	if err != nil {
		return fmt.Errorf("asking where partition %d ends: %w", number, err)
	}
	if err := v.AwaitPosition(ctx, number, end.end); err != nil {
		return err
	}
	p.freshen(end.asked)
	return nil
}

// Hops returns how many processors stand between what happens and the changelog, beside the one that is waited for first.
func (v *View) Hops() int { return len(v.config.Hops) }

// AsOf returns a time such that all that had happened by then is in the local copy of a partition: all that could be read in
// the topics of the first hop, and what the groups on the way make of it. Where the group writes the changelog itself, its
// events and the changelog's records appear together, and it is the same as FreshAt. The zero time says that it is not known.
func (v *View) AsOf(number int32) time.Time {
	if len(v.config.Hops) == 0 {
		return v.FreshAt(number)
	}
	if p := v.partition(number); p != nil {
		if at := p.asOf.Load(); at != nil {
			return *at
		}
	}
	return time.Time{}
}

// AwaitAsOf returns once all that had happened by the given time, which must not lie in the future, is in the local copy of a
// partition. It waits for the groups on the way. The error wraps ErrViewElsewhere when the partition is not held, or
// ctx's error.
func (v *View) AwaitAsOf(ctx context.Context, number int32, since time.Time) error {
	if len(v.config.Hops) == 0 {
		return v.AwaitFresh(ctx, number, since)
	}
	p := v.partition(number)
	if p == nil || !p.held.Load() {
		return fmt.Errorf("partition %d: %w", number, ErrViewElsewhere)
	}
	if !v.AsOf(number).Before(since) {
		return nil
	}
	arrival, err := v.gate.wait(ctx, &viewToken{news: true, numbers: []int32{number}})
	if err != nil {
		return fmt.Errorf("following what is new to partition %d: %w", number, err)
	}
	if err := v.AwaitPosition(ctx, number, arrival.ends[number]); err != nil {
		return err
	}
	later(&p.asOf, arrival.asked)
	return nil
}

// viewForeseen is where a partition of a changelog ended once it held all that had happened at a time.
type viewForeseen struct {
	viewEnd
	topic [16]byte
}

// Foresee finds out where a partition ends once it holds all that has happened by now, of which no copy need be held: one that is
// held later and gets there is as young as that (AsOf). It waits for the groups on the way. The error is ctx's, or wraps
// ErrViewNotReady.
func (v *View) Foresee(ctx context.Context, number int32) error {
	if len(v.config.Hops) == 0 {
		return nil // a copy that is level with the changelog knows by itself
	}
	p, session := v.partition(number), v.session.Load()
	if p == nil || session == nil {
		return fmt.Errorf("partition %d: %w", number, ErrViewNotReady)
	}
	arrival, err := v.gate.wait(ctx, &viewToken{news: true, numbers: []int32{number}})
	if err != nil {
		return fmt.Errorf("following what is new to partition %d: %w", number, err)
	}
	if v.session.Load() != session {
		return fmt.Errorf("partition %d: %w", number, ErrViewNotReady) // it may be another topic's end
	}
	p.foreseen.Store(&viewForeseen{viewEnd{end: arrival.ends[number], asked: arrival.asked}, session.topic.id})
	return nil
}

// Foreseen returns the time as of which Foresee has last found out where a partition ends; the zero time is never.
func (v *View) Foreseen(number int32) time.Time {
	if p := v.partition(number); p != nil {
		if seen := p.foreseen.Load(); seen != nil {
			return seen.asked
		}
	}
	return time.Time{}
}

// reachForeseen notes how young a copy is that stands at a position.
func (p *viewPartition) reachForeseen(position int64) {
	seen := p.foreseen.Load()
	if seen != nil && position >= seen.end && p.session != nil && p.session.topic.id == seen.topic && p.foreseen.CompareAndSwap(seen, nil) {
		later(&p.asOf, seen.asked)
	}
}

// freshen notes that the copy holds all that was committed at a time.
func (p *viewPartition) freshen(at time.Time) { later(&p.fresh, at) }

// freshenAt notes where the partition ended at a time: once the copy is there it holds all that was committed then. Under load it is
// never level with what was asked a moment ago. An end that is aimed at already is reached first.
func (p *viewPartition) freshenAt(end viewEnd) {
	if p.position.Load() >= end.end {
		p.freshen(end.asked)
		return
	}
	if p.aim.CompareAndSwap(nil, &end) {
		p.reachAim(p.position.Load()) // it may have got there while we looked
	}
}

// reachAim notes how fresh a copy is that stands at a position.
func (p *viewPartition) reachAim(position int64) {
	if aim := p.aim.Load(); aim != nil && position >= aim.end && p.aim.CompareAndSwap(aim, nil) {
		p.freshen(aim.asked)
	}
}

// later sets a time, unless it is later already.
func later(known *atomic.Pointer[time.Time], at time.Time) {
	for {
		now := known.Load()
		if now != nil && !now.Before(at) || known.CompareAndSwap(now, &at) {
			return
		}
	}
}

// ask returns an end of a partition that is asked for from now on.
func (f *viewFresh) ask(ctx context.Context, number int32) (viewEnd, error) {
	waiter := viewFreshWaiter{ctx: ctx, answer: make(chan viewEnd, 1)}
	f.mu.Lock()
	f.waiters[number] = append(f.waiters[number], waiter)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	select {
	case end := <-waiter.answer:
		return end, nil
	case <-ctx.Done():
		return viewEnd{}, ctx.Err()
	}
}

// run asks whenever somebody waits, again and again while the brokers do not answer.
func (f *viewFresh) run(ctx context.Context, s *viewSession) {
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
		for !f.round(ctx, s) {
			if !viewSleep(ctx, viewPollMax) {
				return
			}
		}
	}
}

// round asks once for all who wait and reports whether all of them have been answered.
func (f *viewFresh) round(ctx context.Context, s *viewSession) bool {
	f.mu.Lock()
	waiters := f.waiters
	f.waiters = make(map[int32][]viewFreshWaiter)
	f.mu.Unlock()
	var numbers []int32
	for number, waiting := range waiters {
		waiting = slices.DeleteFunc(waiting, func(w viewFreshWaiter) bool { return w.ctx.Err() != nil })
		if waiters[number] = waiting; len(waiting) > 0 {
			numbers = append(numbers, number)
		}
	}
	if len(numbers) == 0 {
		return true
	}
	asked := time.Now()
	ends, err := viewOffsets(ctx, s.client, s.view.config.Topic, numbers, viewNewest, viewReadCommitted)
	if err != nil {
		if ctx.Err() == nil {
			s.view.log.Debug("the changelog's ends cannot be read", "error", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for number, waiting := range waiters {
			f.waiters[number] = append(waiting, f.waiters[number]...)
		}
		return false
	}
	s.view.contact.Store(asked.UnixNano())
	for number, waiting := range waiters {
		if p := s.view.partition(number); p != nil {
			p.observe(max(ends[number], p.position.Load()))
		}
		for _, waiter := range waiting {
			waiter.answer <- viewEnd{end: ends[number], asked: asked}
		}
	}
	return true
}
