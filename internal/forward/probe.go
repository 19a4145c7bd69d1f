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

const (
	// probeAfter is how long an answer may take to begin, or to be read, before the instance is asked whether it lives.
	probeAfter = 500 * time.Millisecond
	// probeStream is between such questions while a stream goes on.
	probeStream = 2 * time.Second
)

// Probe returns nil if an instance can be reached, as was found a moment ago or is found out within limit.
func (f *Forwarder) Probe(ctx context.Context, base string, limit time.Duration) error {
	if known, found := f.recent(base); found && known.reachable {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
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

	mu    sync.Mutex
	probe *time.Timer   // guarded by mu; nil once stopped
	every time.Duration // guarded by mu
}

// watch begins to look after a request. limit is for its answer to begin; 0 is none.
func (f *Forwarder) watch(ctx context.Context, cancel context.CancelCauseFunc, base string, limit time.Duration) *patience {
	p := &patience{forwarder: f, ctx: ctx, cancel: cancel, base: base, every: probeAfter}
	if limit > 0 {
		p.limit = time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = time.AfterFunc(p.every, p.look)
	return p
}

// look asks whether the instance lives. It runs in the timer's goroutine, which ends with it, or sooner with the request.
func (p *patience) look() {
	p.mu.Lock()
	every := p.every
	p.mu.Unlock()
	if err := p.forwarder.Probe(p.ctx, p.base, every); err != nil {
		p.cancel(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probe != nil {
		p.probe.Reset(p.every)
	}
}

// begun notes that the answer has begun: what is left may take as long as the instance lives.
func (p *patience) begun() {
	if p.limit != nil {
		p.limit.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = probeStream
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
