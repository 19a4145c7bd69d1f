package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/token"
)

const (
	viewPollMin = time.Millisecond
	viewPollMax = 25 * time.Millisecond
)

// viewPlace is one partition of a command topic.
type viewPlace struct {
	topic     string
	partition int32
}

// viewPassed says that a group had committed an offset, and where the changelog partition ended at some time after.
type viewPassed struct {
	committed int64
	end       int64
}

// viewToken is someone waiting for the group to pass a command.
type viewToken struct {
	place  viewPlace
	offset int64
	end    chan int64 // of capacity 1: where the changelog partition ended once the group had passed
}

// viewGate answers when a command's effect is in the changelog. One goroutine asks the group's coordinator for all
// waiters at once, and only while there are any.
type viewGate struct {
	view *View
	wake chan struct{} // of capacity 1: there is a new waiter

	mu      sync.Mutex
	waiters []*viewToken             // guarded by mu
	passed  map[viewPlace]viewPassed // guarded by mu: the last answers
}

func newViewGate(v *View) *viewGate {
	return &viewGate{view: v, wake: make(chan struct{}, 1), passed: make(map[viewPlace]viewPassed)}
}

// Await returns once whatever the command at the token's place has changed can be read from the view. It waits until the
// processor's group has committed an offset beyond the command, notes where the changelog partition of the same number
// ends then, and waits for the view to get there. A command that changed nothing therefore holds nobody up.
//
// The end taken is that of all records, not the last stable one: the marker that makes the command's own transaction
// readable may reach the changelog after the one that makes its offset visible.
//
// Where partitions are named, only their effects are waited for: for those who read no others.
//
// The error wraps ErrForeignToken, ErrNoGroup, ErrViewNotReady while the partitions are unknown, or ctx's error.
func (v *View) Await(ctx context.Context, t token.Token, only ...int32) error {
	if v.config.Group == "" {
		return fmt.Errorf("awaiting a token: %w", ErrNoGroup)
	}
	if !slices.Contains(v.config.Sources, t.Topic) {
		return fmt.Errorf("awaiting a token: %w: it is of topic %q", ErrForeignToken, t.Topic)
	}
	count := v.Partitions()
	if count == 0 {
		return fmt.Errorf("awaiting a token: %w", ErrViewNotReady)
	}
	p := v.partition(t.Partition)
	if p == nil {
		return fmt.Errorf("awaiting a token: %w: it is of partition %d, and there are %d", ErrForeignToken, t.Partition, count)
	}
	if len(only) > 0 && !slices.Contains(only, t.Partition) {
		return nil // it changed nothing there
	}
	end, err := v.gate.pass(ctx, viewPlace{t.Topic, t.Partition}, t.Offset)
	if err != nil {
		return fmt.Errorf("awaiting the processor at %s/%d offset %d: %w", t.Topic, t.Partition, t.Offset, err)
	}
	if err := v.AwaitPosition(ctx, t.Partition, end); err != nil {
		return fmt.Errorf("awaiting a token: %w", err)
	}
	return nil
}

// AwaitPosition returns once the view's position on a partition has reached the given one. The error wraps
// ErrViewNotReady when there is no such partition, or ctx's error.
func (v *View) AwaitPosition(ctx context.Context, number int32, position int64) error {
	p := v.partition(number)
	if p == nil {
		return fmt.Errorf("partition %d: %w", number, ErrViewNotReady)
	}
	if !p.held.Load() {
		return fmt.Errorf("partition %d: %w", number, ErrViewElsewhere)
	}
	if p.position.Load() >= position {
		return nil
	}
	// The end is known to lie there: without a record the stall watch finds the way to it.
	reached, stop := p.wait(position)
	defer stop()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for position %d of partition %d, now %d: %w", position, number, p.position.Load(), ctx.Err())
	}
}

// pass waits until the group has committed an offset above the given one and returns an end of the changelog partition
// that was taken after.
func (g *viewGate) pass(ctx context.Context, place viewPlace, offset int64) (int64, error) {
	g.mu.Lock()
	if known, found := g.passed[place]; found && known.committed > offset {
		g.mu.Unlock()
		return known.end, nil
	}
	waiter := &viewToken{place: place, offset: offset, end: make(chan int64, 1)}
	g.waiters = append(g.waiters, waiter)
	g.mu.Unlock()
	defer g.leave(waiter)
	select {
	case g.wake <- struct{}{}:
	default:
	}
	select {
	case end := <-waiter.end:
		return end, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (g *viewGate) leave(waiter *viewToken) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiters = slices.DeleteFunc(g.waiters, func(w *viewToken) bool { return w == waiter })
}

// run asks for as long as somebody waits: a millisecond apart at first, and whenever somebody new comes.
func (g *viewGate) run(ctx context.Context, s *viewSession) {
	g.mu.Lock()
	clear(g.passed) // of another incarnation of the topic, perhaps
	pending := len(g.waiters) > 0
	g.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := viewPollMin
	for {
		if !pending {
			select {
			case <-g.wake:
				pause = viewPollMin
			case <-ctx.Done():
				return
			}
		}
		var err error
		pending, err = g.ask(ctx, s)
		if err != nil && ctx.Err() == nil {
			s.view.log.Debug("the processor's progress cannot be read", "error", err)
			pause = viewPollMax
		}
		if !pending {
			continue
		}
		timer.Reset(pause)
		pause = min(pause+pause/4, viewPollMax)
		select {
		case <-timer.C:
		case <-g.wake:
			pause = viewPollMin
		case <-ctx.Done():
			return
		}
	}
}

// ask makes one round for all waiters and reports whether some are left.
func (g *viewGate) ask(ctx context.Context, s *viewSession) (pending bool, err error) {
	wanted, waiters := g.wanted()
	if len(waiters) == 0 {
		return false, nil
	}
	committed, err := viewCommitted(ctx, s.client, s.view.config.Group, wanted)
	if err != nil {
		return true, err
	}
	beyond := func(w *viewToken) bool {
		offset, found := committed[w.place.topic][w.place.partition]
		return found && offset > w.offset
	}
	var numbers []int32
	for _, w := range waiters {
		if beyond(w) && !slices.Contains(numbers, w.place.partition) {
			numbers = append(numbers, w.place.partition)
		}
	}
	if len(numbers) == 0 {
		return true, nil
	}
	ends, err := viewOffsets(ctx, s.client, s.view.config.Topic, numbers, viewNewest, viewReadUncommitted)
	if err != nil {
		return true, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range waiters {
		if beyond(w) {
			g.passed[w.place] = viewPassed{committed: committed[w.place.topic][w.place.partition], end: ends[w.place.partition]}
			w.end <- ends[w.place.partition]
		}
	}
	g.waiters = slices.DeleteFunc(g.waiters, func(w *viewToken) bool { return slices.Contains(waiters, w) && beyond(w) })
	return len(g.waiters) > 0, nil
}

// wanted returns the waiters and the places they wait for.
func (g *viewGate) wanted() (map[string][]int32, []*viewToken) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wanted := make(map[string][]int32)
	for _, w := range g.waiters {
		if !slices.Contains(wanted[w.place.topic], w.place.partition) {
			wanted[w.place.topic] = append(wanted[w.place.topic], w.place.partition)
		}
	}
	return wanted, slices.Clone(g.waiters)
}

// AwaitTimedOut reports whether an error of Await says that the time given was too short.
func AwaitTimedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
