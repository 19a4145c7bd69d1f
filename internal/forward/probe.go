package forward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// ErrSilent says that an instance takes connections and answers nothing: it is stopped, or its machine is gone.
var ErrSilent = errors.New("the instance does not answer")

// intervals are between questions whether an instance lives.
type intervals struct {
	first  time.Duration // before the first one, where another instance can be asked instead
	answer time.Duration // while an answer has not begun
	stream time.Duration // while one goes on
	life   time.Duration // for it to answer: with time to spare, as one that is only busy must not lose its requests
}

var defaultIntervals = intervals{first: 200 * time.Millisecond, answer: 500 * time.Millisecond, stream: 2 * time.Second, life: 2 * time.Second}

// probe is one question whether an instance lives, for all who want to know.
type probe struct {
	done chan struct{} // closed with the answer
	err  error         // written before done is closed
}

// Probe returns nil if an instance can be reached, as was found a moment ago or is found out within limit.
func (f *Forwarder) Probe(ctx context.Context, base string, limit time.Duration) error {
	return f.alive(ctx, base, time.Now().Add(-suspected), limit)
}

// alive returns nil if an instance was reached since a time, or is found within limit to be reachable.
func (f *Forwarder) alive(ctx context.Context, base string, since time.Time, limit time.Duration) error {
	f.mu.Lock()
	if known := f.known[base]; known.reachable && !known.at.Before(since) {
		f.mu.Unlock()
		return nil
	}
	p := f.probes[base]
	if p == nil {
		p = &probe{done: make(chan struct{})}
		f.probes[base] = p
		go f.answer(base, p)
	}
	f.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		return fmt.Errorf("%w: %s within %v", ErrSilent, base, limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer answers a probe. It has nothing to do with the requests of those who want to know, and ends by itself in time:
// net/http can take a request's end for that of the next one on a connection, where an answer has no body.
func (f *Forwarder) answer(base string, p *probe) {
	p.err = f.head(base)
	f.mu.Lock()
	delete(f.probes, base)
	f.mu.Unlock()
	close(p.done)
}

// head asks an instance for the path that every one answers.
func (f *Forwarder) head(base string) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.probing.life)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, base+f.path, nil)
	if err != nil {
		return err
	}
	request.Header.Set(HeaderForwarded, f.instance)
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		f.note(base, false)
		return fmt.Errorf("%w: %s: %w", ErrSilent, base, err)
	}
	response.Body.Close()
	f.note(base, true)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s has status %d for %s", ErrMisdirected, base, response.StatusCode, f.path)
	}
	return nil
}

// patience looks after a request that has been sent: one that takes longer than its limit is given up, and so is one to an
// instance that does not live any more.
type patience struct {
	forwarder *Forwarder
	ctx       context.Context
	cancel    context.CancelCauseFunc
	base      string
	limit     *time.Timer // nil for none

	mu      sync.Mutex
	probe   *time.Timer   // guarded by mu; nil once stopped
	every   time.Duration // guarded by mu
	looked  time.Time     // guarded by mu: when it was looked after last
	silence time.Duration // guarded by mu: how long it may give no sign of life while another one can be asked instead; 0 for none
}

// watch begins to look after a request. limit is for its answer to begin; 0 is none. silence is how long the instance may give no
// sign of life until then, 0 where nobody else can be asked.
func (f *Forwarder) watch(ctx context.Context, cancel context.CancelCauseFunc, base string, limit, silence time.Duration) *patience {
	p := &patience{forwarder: f, ctx: ctx, cancel: cancel, base: base, every: f.probing.answer, looked: time.Now(), silence: silence}
	if limit > 0 {
		p.limit = time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	}
	first := p.every
	if silence > 0 {
		first = min(f.probing.first, silence/2)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = time.AfterFunc(first, p.look)
	return p
}

// look asks whether the instance lives. It runs in the timer's goroutine, which ends with it, or sooner with the request.
func (p *patience) look() {
	since, silence := p.looking()
	if silence > 0 && p.forwarder.Suspect(p.base) { // others were given up, and there is another one to ask
		p.cancel(ErrSilent)
		return
	}
	life := p.forwarder.probing.life
	if silence > 0 {
		life = min(life, max(silence-time.Since(since), silence/2))
	}
	err := p.forwarder.alive(p.ctx, p.base, since, life)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.ctx.Err() == nil && p.silence == silence { // else its answer has begun meanwhile, and is a sign of life
		p.cancel(err)
		return
	}
	if p.probe != nil {
		p.probe.Reset(p.every)
	}
}

// looking returns since when a sign of life counts, and for how long there may be none while another instance can be asked.
func (p *patience) looking() (since time.Time, silence time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	since = p.looked
	if oldest := now.Add(-suspected); since.Before(oldest) {
		since = oldest
	}
	p.looked = now
	return since, p.silence
}

// begun notes that the answer has begun: what is left may take as long as the instance lives.
func (p *patience) begun() {
	if p.limit != nil {
		p.limit.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silence = 0
	p.every = p.forwarder.probing.stream
}

// stop ends it.
func (p *patience) stop() {
	if p.limit != nil {
		p.limit.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probe != nil {
		p.probe.Stop()
		p.probe = nil
	}
}
