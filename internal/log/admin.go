package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Admin asks and tells brokers what is neither producing nor consuming. Its
// methods are safe for concurrent use; each is bounded by its context and by
// Config.RequestTimeout.
type Admin struct {
	cfg Config
	cl  *kgo.Client
}

// NewAdmin returns an Admin. It makes no connection: see Ping.
func NewAdmin(cfg Config, extra ...kgo.Opt) (*Admin, error) {
	opts, err := cfg.ClientOptions()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Admin{cfg: cfg.WithDefaults(), cl: cl}, nil
}

// Close ends the connections. Calls in flight fail.
func (a *Admin) Close() { a.cl.Close() }

// bounded gives a call its deadline.
func (a *Admin) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.cfg.RequestTimeout)
}

// explain is explain with the addresses, where nothing answered.
func (a *Admin) explain(doing string, err error) error {
	err = explain(doing, err)
	if errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("%w (brokers: %s)", err, a.cfg)
	}
	return err
}

// Ping returns nil if a broker answers and lets us in.
func (a *Admin) Ping(ctx context.Context) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, a.cl.Ping(ctx) })
	return a.explain("asking the brokers for a sign of life", err)
}

// FinalizedFeature returns the level of a cluster feature, such as
// "transaction.version", and whether the cluster has one. 0 and false is an
// older cluster.
func (a *Admin) FinalizedFeature(ctx context.Context, name string) (int16, bool, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	level, ok, err := finalizedFeature(ctx, a.cl, name)
	return level, ok, a.explain("asking for the feature "+name, err)
}

func finalizedFeature(ctx context.Context, cl *kgo.Client, name string) (int16, bool, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "tidemill", "1"
	resp, err := ask(ctx, cl, req)
	if err != nil {
		return 0, false, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, false, err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == name {
			return f.MaxVersionLevel, true, nil
		}
	}
	return 0, false, nil
}

// within calls f and returns when it does, or when the context is done:
// franz-go finishes connecting first, which may take as long as its dial time-out.
// Then f goes on by itself until it notices.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// request is a request of kmsg that is answered by R.
type request[R kmsg.Response] interface {
	RequestWith(ctx context.Context, r kmsg.Requestor) (R, error)
}

// ask sends a request and returns no later than the context is done. The request
// must not be changed afterwards.
func ask[R kmsg.Response](ctx context.Context, cl *kgo.Client, req request[R]) (R, error) {
	return within(ctx, func() (R, error) { return req.RequestWith(ctx, cl) })
}

// retryDelay is the pause before a question is put again whose answer waits for
// a transaction to end.
const retryDelay = 3 * time.Millisecond

// retry calls f until it returns another error than those that pass by
// themselves, or the context is done; then the last error is returned.
func retry(ctx context.Context, passing func(error) bool, f func() error) error {
	delay := retryDelay
	for {
		err := f()
		if err == nil || !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(delay):
			delay = min(2*delay, 100*time.Millisecond)
		}
	}
}

// anyOf returns a test for these errors.
func anyOf(errs ...*kerr.Error) func(error) bool {
	return func(err error) bool {
		for _, e := range errs {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
}

// inParallel runs f for 0 to n-1, at most limit at a time, and joins the errors.
func inParallel(n, limit int, f func(i int) error) error {
	var wait sync.WaitGroup
	slots := make(chan struct{}, limit)
	errs := make([]error, n)
	for i := range n {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
