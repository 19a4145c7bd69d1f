package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/token"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	viewPollMin = time.Millisecond
	viewPollMax = 25 * time.Millisecond
)

// ViewHop is a step from what one group wrote to what the next one makes of it.
type ViewHop struct {
	// Topics were written by the group before, and are read by Group.
	Topics []string
	Group  string
	// Repartitioned says that Topics have their records on other partitions than what they were made from.
	Repartitioned bool
}

// viewPlace is one partition of a topic.
type viewPlace struct {
	topic     string
	partition int32
}

// viewQuestion is what waiters have in common that one answer serves: the command's partition, and the partitions of the
// changelog that matter.
type viewQuestion struct {
	place viewPlace
	only  string
}

// viewPassed says that the first group had committed an offset, and where the changelog partitions ended at some time
// after all that followed from it.
type viewPassed struct {
	committed int64
	ends      map[int32]int64
}

// viewToken is someone waiting for all groups to pass a command and what was made of it. The gate's goroutine has all
// but what it was made with for itself.
type viewToken struct {
	viewQuestion
	offset  int64
	numbers []int32          // the changelog's partitions that matter, none for all
	news    bool             // no command, but all that there is now where the hops begin
	done    chan viewArrival // of capacity 1

	path  []map[string][]int32 // by stage: the partitions to follow; the last is the changelog
	stage int
	ends  map[viewPlace]int64 // of this stage's topics, to be passed; what lies there is not looked at yet
	wants map[viewPlace]int64 // offsets that this stage's group must have committed
	first int64               // what the first group had committed
	asked time.Time           // for news: what there was then is followed
}

// viewArrival is where the changelog partitions ended once all groups had passed, or why that cannot be told.
type viewArrival struct {
	ends  map[int32]int64
	asked time.Time // for news
	err   error
}

// viewGate answers when a command's effect is in the changelog. One goroutine asks the groups' coordinators for all
// waiters at once, and only while there are any.
type viewGate struct {
	view *View
	wake chan struct{} // of capacity 1: there is a new waiter

	mu      sync.Mutex
	waiters []*viewToken                // guarded by mu
	passed  map[viewQuestion]viewPassed // guarded by mu: the last answers

	topics map[string]viewSpread    // of the run's goroutine: what is known of the topics on the way
	looked map[viewPlace]viewLooked // of the run's goroutine: where records were looked for last
	reader *kgo.Client              // of the run's goroutine: reads the topics; nil before it is needed
}

// viewLooked is what a look at the records below an end has found: see viewRound.last.
type viewLooked struct{ end, wants int64 }

func newViewGate(v *View) *viewGate {
	return &viewGate{view: v, wake: make(chan struct{}, 1), passed: make(map[viewQuestion]viewPassed)}
}

// Await returns once whatever the command at the token's place has changed can be read from the view. It waits until the
// processor's group has committed an offset beyond the command, notes where the changelog partition of the same number
// ends then, and waits for the view to get there. A command that changed nothing therefore holds nobody up.
//
// The end taken is that of all records, not the last stable one: the marker that makes the command's own transaction
// readable may reach the changelog after the one that makes its offset visible. With hops the same is done at each: the
// next group must pass what the topic ended with after the group before had passed (view_gate_round.go).
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
	if !v.repartitioned() {
		if v.partition(t.Partition) == nil {
			return fmt.Errorf("awaiting a token: %w: it is of partition %d, and there are %d", ErrForeignToken, t.Partition, count)
		}
		if len(only) > 0 && !slices.Contains(only, t.Partition) {
			return nil // it changed nothing there
		}
		only = []int32{t.Partition}
	}
	ends, err := v.gate.pass(ctx, viewPlace{t.Topic, t.Partition}, t.Offset, only)
	if err != nil {
		return fmt.Errorf("awaiting the processor at %s/%d offset %d: %w", t.Topic, t.Partition, t.Offset, err)
	}
	for number, end := range ends {
		if err := v.AwaitPosition(ctx, number, end); err != nil {
			return fmt.Errorf("awaiting a token: %w", err)
		}
	}
	return nil
}

// repartitioned reports whether a command's effects may be on other partitions than the command.
func (v *View) repartitioned() bool {
	return slices.ContainsFunc(v.config.Hops, func(hop ViewHop) bool { return hop.Repartitioned })
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

// pass waits until all groups have passed the command at an offset and what followed from it, and returns ends of the
// changelog partitions that were taken after.
func (g *viewGate) pass(ctx context.Context, place viewPlace, offset int64, only []int32) (map[int32]int64, error) {
	question := viewQuestion{place: place}
	for _, number := range only {
		question.only += strconv.Itoa(int(number)) + " "
	}
	g.mu.Lock()
	if known, found := g.passed[question]; found && known.committed > offset {
		g.mu.Unlock()
		return known.ends, nil
	}
	g.mu.Unlock()
	arrival, err := g.wait(ctx, &viewToken{viewQuestion: question, offset: offset, numbers: only})
	return arrival.ends, err
}

// wait has the gate's goroutine follow what a waiter asks for.
func (g *viewGate) wait(ctx context.Context, waiter *viewToken) (viewArrival, error) {
	waiter.done = make(chan viewArrival, 1)
	g.mu.Lock()
	g.waiters = append(g.waiters, waiter)
	g.mu.Unlock()
	defer g.leave(waiter)
	select {
	case g.wake <- struct{}{}:
	default:
	}
	select {
	case arrival := <-waiter.done:
		return arrival, arrival.err
	case <-ctx.Done():
		return viewArrival{}, ctx.Err()
	}
}

func (g *viewGate) leave(waiter *viewToken) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiters = slices.DeleteFunc(g.waiters, func(w *viewToken) bool { return w == waiter })
}

// run asks for as long as somebody waits: a millisecond apart at first, and whenever somebody new comes.
func (g *viewGate) run(ctx context.Context, s *viewSession) {
	pending := g.begin()
	defer g.closeReader()
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
		round := &viewRound{gate: g, session: s, ctx: ctx}
		var err error
		pending, err = round.run()
		if err != nil && ctx.Err() == nil {
			s.view.log.Debug("the processor's progress cannot be read", "error", err)
			clear(g.topics) // leaders may have changed
			pause = viewPollMax
		}
		if !pending {
			continue
		}
		if round.moved {
			pause = viewPollMin
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

// connected returns a client to read the topics on the way with, other than the changelog. It is not the session's: a broker
// answers what comes over one connection in its order, and the session's fetches wait there for something new.
func (g *viewGate) connected() (_ *kgo.Client, err error) {
	if g.reader == nil {
		g.reader, err = g.view.config.Client(viewConsumerOptions("tidemill-view-" + g.view.config.Name)...)
	}
	return g.reader, err
}

func (g *viewGate) closeReader() {
	if g.reader != nil {
		g.reader.Close()
		g.reader = nil
	}
}

// begin forgets what belongs to another incarnation of the topics, perhaps, and reports whether somebody waits.
func (g *viewGate) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.passed)
	g.topics, g.looked = make(map[string]viewSpread), make(map[viewPlace]viewLooked)
	for _, w := range g.waiters {
		w.path, w.stage, w.ends, w.wants = nil, 0, nil, nil
	}
	return len(g.waiters) > 0
}

// arrived lets waiters go, and remembers their answers for others. Waiters that have left by themselves stay away.
func (g *viewGate) arrived(waiters []*viewToken, arrivals []viewArrival) (left bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range waiters {
		if arrivals[i].err == nil && !w.news {
			g.passed[w.viewQuestion] = viewPassed{committed: w.first, ends: arrivals[i].ends}
		}
		w.done <- arrivals[i]
	}
	g.waiters = slices.DeleteFunc(g.waiters, func(w *viewToken) bool { return slices.Contains(waiters, w) })
	return len(g.waiters) > 0
}

// AwaitTimedOut reports whether an error of Await says that the time given was too short.
func AwaitTimedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
