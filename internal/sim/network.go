package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/log"
)

// errNoAnswer is what a client gets that has waited in vain. The request may have been carried out, or will be.
var errNoAnswer = fmt.Errorf("%w: no answer in time", log.ErrUnreachable)

// callInOrder carries out one request that may be lost, or its answer, but comes neither twice nor late: JoinGroup, of which
// an old one would fence its own sender.
func callInOrder[T any](c *coroutine, request func() (T, error)) (T, error) {
	heard, mayCome := false, true
	answer, err := call(c, func() (T, error) {
		if heard || !mayCome || !c.process.alive {
			var none T
			return none, errNoAnswer
		}
		heard = true
		return request()
	})
	mayCome = false
	return answer, err
}

// call carries out one request on the brokers. It may be lost, its answer may be lost, it may be carried out twice, and late.
// A late one arrives when the caller has long gone on; what it answers then nobody hears.
func call[T any](c *coroutine, request func() (T, error)) (T, error) {
	var none T
	s, p := c.schedule, c.process.world.profile
	c.sleep(c.process.latency())
	if c.process.cutUntil > s.now || c.process.faulty() && s.chance(p.lost) {
		if late := s.chance(0.5); late && c.process.cutUntil <= s.now && p.implicit {
			s.after(s.between(0, 2*p.requestTimeout), func() { _, _ = request() })
		}
		c.sleep(p.requestTimeout)
		return none, errNoAnswer
	}
	answer, err := request()
	if c.process.faulty() && s.chance(p.duplicated) && p.implicit {
		s.after(s.between(0, p.requestTimeout), func() { _, _ = request() })
	}
	if c.process.faulty() && s.chance(p.answerLost) {
		c.sleep(p.requestTimeout)
		return none, errNoAnswer
	}
	c.sleep(c.process.latency())
	return answer, err
}

// once carries out a request that its client sends only once: it may be lost, or come late when nobody waits for it any more. It
// is asked again where the brokers are busy, which says that it was not carried out.
func once[T any](ctx context.Context, c *coroutine, request func() (T, error)) (T, error) {
	deadline := c.schedule.now + 2*c.process.world.profile.requestTimeout
	for {
		heard := false
		answer, err := call(c, func() (T, error) {
			if heard {
				var none T
				return none, errNoAnswer
			}
			heard = true
			return request()
		})
		if !passes(err) || c.schedule.now > deadline || ctx.Err() != nil {
			return answer, err
		}
		c.sleep(c.schedule.between(time.Millisecond, 20*time.Millisecond))
	}
}

// passes tells whether an error says that the brokers have done nothing, and may do it soon.
func passes(err error) bool {
	return errors.Is(err, errBusy) || errors.Is(err, errUnstable) || errors.Is(err, errNoLeader)
}

// retry repeats a request while the brokers are busy or do not answer, until the request time-out has passed twice.
func retry[T any](ctx context.Context, c *coroutine, request func() (T, error)) (T, error) {
	deadline := c.schedule.now + 2*c.process.world.profile.requestTimeout
	for {
		answer, err := call(c, request)
		if err == nil || !passes(err) && !errors.Is(err, errNoAnswer) {
			return answer, err
		}
		if ctx.Err() != nil {
			return answer, errors.Join(err, ctx.Err())
		}
		if c.schedule.now > deadline {
			return answer, err
		}
		c.sleep(c.schedule.between(time.Millisecond, 20*time.Millisecond))
	}
}

// latency is how long a request or an answer is on its way.
func (p *process) latency() time.Duration {
	s := p.world.schedule
	if p.faulty() && s.chance(p.world.profile.slow) {
		return s.between(time.Millisecond, 500*time.Millisecond)
	}
	return s.between(50*time.Microsecond, time.Millisecond)
}

// faulty tells whether the network and the disk may misbehave: not any more at the end of a run.
func (p *process) faulty() bool { return !p.world.healed }
