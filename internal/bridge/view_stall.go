package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/store"
)

// errViewTruncated says that the log ends before what was read from it.
var errViewTruncated = errors.New("the log ends before the view's position")

// viewStall is what the watch remembers of one partition.
type viewStall struct {
	probedAt time.Time
	pause    time.Duration // until the next question to the broker
	empty    int           // answers in a row that said there is nothing to read below the stable offset
	beat     time.Time     // when the checkpoint was last refreshed
}

// watch looks after what records alone do not tell: that the topic is still the same one, where it ends, and that no
// partition waits for a record which will not come.
func (s *viewSession) watch(ctx context.Context) {
	ticker := time.NewTicker(viewStallInterval)
	defer ticker.Stop()
	stalls := make([]viewStall, s.topic.partitions)
	now := time.Now()
	for i := range stalls {
		stalls[i] = viewStall{pause: viewStallAfter, beat: s.view.config.Now()}
	}
	checked := now
	for {
		select {
		case <-ctx.Done():
			return
		case now = <-ticker.C:
		}
		if now.Sub(checked) >= viewCheckInterval {
			s.check(ctx, stalls)
			checked = time.Now()
		}
		for i := range stalls {
			p := s.view.partition(int32(i))
			if !p.held.Load() {
				continue
			}
			if p.damaged.Load() {
				s.consumer.fail(p.number, store.ErrCorrupt)
				continue
			}
			s.unstall(ctx, p, &stalls[i])
		}
	}
}

// check asks the cluster for the topic's id and its stable offsets.
func (s *viewSession) check(ctx context.Context, stalls []viewStall) {
	topic, err := viewDescribe(ctx, s.client, s.view.config.Topic)
	if err != nil {
		if ctx.Err() == nil {
			s.view.log.Debug("the changelog cannot be looked at", "error", err)
		}
		return
	}
	if topic != s.topic {
		s.cancel(errViewRestart)
		return
	}
	asked := time.Now()
	numbers := s.view.heldNumbers()
	if len(numbers) == 0 {
		s.view.contact.Store(asked.UnixNano())
		return
	}
	positions := make([]int64, s.topic.partitions) // before the ends, so that an end below is one truly
	for _, number := range numbers {
		positions[number] = s.view.partition(number).position.Load()
	}
	ends, err := viewOffsets(ctx, s.client, s.view.config.Topic, numbers, viewNewest, viewReadCommitted)
	if err != nil {
		if ctx.Err() == nil {
			s.view.log.Debug("the changelog's ends cannot be read", "error", err)
		}
		return
	}
	s.view.contact.Store(time.Now().UnixNano())
	now := s.view.config.Now() // checkpoints age by this clock
	for _, number := range numbers {
		p := s.view.partition(number)
		end := ends[number]
		if end < positions[number] {
			s.consumer.fail(number, fmt.Errorf("%w: %d < %d", errViewTruncated, end, positions[number]))
			continue
		}
		p.observe(max(end, p.position.Load()))
		if p.ready.Load() {
			p.freshenAt(viewEnd{end: end, asked: asked})
		}
		if p.ready.Load() && end == positions[number] && now.Sub(stalls[number].beat) >= viewHeartbeat {
			stalls[number].beat = now
			s.consumer.inject(ctx, number, end, &viewBatch{next: end})
		}
	}
}

// unstall asks the broker what is wrong with a partition that stays below a known stable offset. What lies between may
// have been compacted away, or be aborted with its marker compacted away: then no record will ever move the position
// on, and a batch without records does it.
func (s *viewSession) unstall(ctx context.Context, p *viewPartition, stall *viewStall) {
	position := p.position.Load()
	now := time.Now()
	if position >= p.stable.Load() || now.Sub(time.Unix(0, p.moved.Load())) < viewStallAfter {
		stall.pause, stall.empty = viewStallAfter, 0
		return
	}
	if now.Sub(stall.probedAt) < stall.pause {
		return
	}
	stall.probedAt = now
	stall.pause = min(2*stall.pause, viewBackoffMax)
	next, stable, err := s.probe(ctx, p.number, position)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			s.view.log.Debug("a stalled partition cannot be looked at", "partition", p.number, "error", err)
		}
		return
	case next > position:
	case next == position && stable > position:
		// An answer without a batch below the stable offset: nothing is left there. Brokers also answer so when they
		// throttle, so one such answer is not believed.
		if stall.empty++; stall.empty < 3 {
			stall.pause = viewStallAfter
			return
		}
		next = stable
	default:
		return
	}
	stall.empty = 0
	s.view.log.Debug("nothing is left to read in a stretch of the changelog", "partition", p.number, "from", position, "to", next)
	s.consumer.inject(ctx, p.number, position, &viewBatch{next: next})
}

// probe fetches by hand at a position. It returns the offset after what the broker answered, if that holds no record or
// marker; the position itself if the broker has nothing there; and -1 if there is something to read after all.
func (s *viewSession) probe(ctx context.Context, number int32, position int64) (next, stable int64, err error) {
	place, err := s.changelog(number)
	if err != nil {
		return 0, 0, err
	}
	fetched, next, empty, err := viewFetch(ctx, s.client, place, position)
	switch {
	case err != nil:
		return 0, 0, err
	case len(fetched.Records) > 0 || (next == position && !empty):
		return -1, fetched.LastStableOffset, nil
	}
	return next, fetched.LastStableOffset, nil
}
