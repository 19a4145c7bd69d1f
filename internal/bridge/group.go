package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// group wraps the consumer group that goka consumes. It stays inside Consume from one session to the next, because goka
// waits five seconds whenever Consume returns, and it decides which errors end the processor.
type group struct {
	sarama.ConsumerGroup
	processor *Processor
}

// Consume implements sarama.ConsumerGroup. It returns when ctx ends or with an error that rejoining cannot mend.
func (g *group) Consume(ctx context.Context, topics []string, handler sarama.ConsumerGroupHandler) error {
	p := g.processor
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTimeout, cancel) })()
	delay := retryMin
	for {
		began := time.Now()
		err := g.session(ctx, last, topics, handler)
		if errors.Is(err, context.Canceled) && !fatal(err) {
			err = nil // the next generation has begun, or we are to stop, while the tasks were restored
		}
		if ctx.Err() != nil && !fatal(err) {
			p.leave()
			p.config.Observer.SessionEnded(nil)
			if err != nil {
				p.logger.Warn("the last session did not end well; what it had not committed will be processed again", "error", err)
			}
			return nil
		}
		p.config.Observer.SessionEnded(err)
		if errors.Is(err, ErrInstanceInUse) {
			if err = p.confirmInUse(ctx, err); ctx.Err() != nil {
				return nil
			}
		}
		if fatal(err) {
			return err
		}
		if err == nil || time.Since(began) > retryReset {
			delay = retryMin
		}
		if err == nil {
			continue
		}
		p.logger.Warn("the session has ended, rejoining", "error", err, "in", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			p.leave()
			return nil
		}
		delay = min(2*delay, retryMax)
	}
}

// leave has the others take the partitions over at once, where that is wanted: sarama sends no LeaveGroup for a static
// member. The session's last commit is made or given up, and whoever has the partitions next ends what it has left open.
func (p *Processor) leave() {
	if !p.config.LeaveAtStop {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := p.admin.RemoveStaticMember(ctx, p.config.SubTopology.Group, p.config.InstanceID, p.memberID); err != nil {
		p.logger.Warn("the group was not told that this instance leaves; its partitions move after the session time-out", "error", err)
		return
	}
	p.logger.Info("left the group: the other instances take the partitions over")
}

// leaveTimeout bounds how long the group is told that the instance leaves.
const leaveTimeout = 750 * time.Millisecond

// How long to wait before rejoining after an error: doubled up to the maximum, from the start again after a good session.
const (
	retryMin   = 20 * time.Millisecond
	retryMax   = time.Second
	retryReset = 10 * time.Second
)

// session consumes for one generation. Its context ends when the commit protocol gives the session up; last bounds the commit
// at its end when the processor is told to stop.
func (g *group) session(ctx, last context.Context, topics []string, handler sarama.ConsumerGroupHandler) error {
	p := g.processor
	sessionCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.endSession = cancel
	p.sessionErr = nil
	err := g.ConsumerGroup.Consume(sessionCtx, topics, &sessionHandler{processor: p, goka: handler, last: last})
	if mendErr := p.engines.mend(); mendErr != nil {
		return errors.Join(p.sessionErr, mendErr)
	}
	if p.sessionErr != nil {
		return p.sessionErr
	}
	if errors.Is(err, sarama.ErrUnstableOffsetCommit) {
		// A transaction holds our offsets: one of ours that failed, whose ids are still ours since we could join, or one that
		// a departed instance has left open. sarama asks for the offsets before it sets the session up. Where they stay so, the
		// coordinator may have done with it and only the offsets' partition has not (finding 8): every id is taken over.
		p.unstable++
		p.unclean = p.unclean || p.unstable > unstablePatience
		if recoverErr := p.recover(ctx); recoverErr != nil {
			return fmt.Errorf("%w; ending the transactions: %w", err, recoverErr)
		}
	} else {
		p.unstable = 0
	}
	if errors.Is(err, sarama.ErrFencedInstancedId) {
		return p.inUse(err)
	}
	return err
}

// confirmInUse returns an error of ErrInstanceInUse as it is if another process does live under our instance id. If none does, a
// join that was given up long ago, by this process or an earlier one, has come late, and rejoining mends it.
func (p *Processor) confirmInUse(ctx context.Context, err error) error {
	p.logger.Warn("another member of the group has this instance id; looking whether a process is behind it", "error", err)
	member, stays := p.admin.StaysJoined(ctx, p.config.SubTopology.Group, p.config.InstanceID, p.config.Timeouts.Session)
	if !stays {
		return fmt.Errorf("no process is behind the member that had taken the instance id %s", p.config.InstanceID)
	}
	return fmt.Errorf("%w (it runs on %s as %s)", err, member.Host, member.ClientID)
}

// unstablePatience is how many times in a row the offsets may be those of a transaction that ends by itself.
const unstablePatience = 3

// fatal tells whether rejoining cannot mend an error.
func fatal(err error) bool {
	for _, sentinel := range []error{
		ErrNoCommittedOffset, ErrForeignOffset, ErrOffsetOutOfRange, ErrInstanceInUse, ErrTopicRecreated,
		commit.ErrInstanceFenced, graph.ErrRecord, kerr.MessageTooLarge, log.ErrBrokerTooOld, log.ErrPartitionMismatch,
		store.ErrDiskFull, store.ErrLocked, store.ErrNewerFormat, store.ErrNotStore,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// sessionHandler stands between sarama's session and goka's handler.
type sessionHandler struct {
	processor *Processor
	goka      sarama.ConsumerGroupHandler
	last      context.Context // ends stopTimeout after the processor is told to stop, however late sarama ends the session
}

// Setup implements sarama.ConsumerGroupHandler: the tasks of the assigned partitions are opened and restored before goka
// starts its goroutines. sarama sends heartbeats meanwhile.
func (h *sessionHandler) Setup(session sarama.ConsumerGroupSession) error {
	if err := h.processor.open(session); err != nil {
		h.processor.sessionErr = err
		return err
	}
	return h.goka.Setup(uncommitting{session})
}

// Cleanup implements sarama.ConsumerGroupHandler: what was stepped is committed (rule 2) before goka closes.
func (h *sessionHandler) Cleanup(session sarama.ConsumerGroupSession) error {
	err := h.processor.close(h.last)
	h.processor.sessionErr = errors.Join(h.processor.sessionErr, err)
	gokaErr := h.goka.Cleanup(uncommitting{session})
	h.processor.batches.clear()
	return errors.Join(err, gokaErr)
}

// ConsumeClaim implements sarama.ConsumerGroupHandler: goka gets batches instead of messages.
func (h *sessionHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	batched := &batchedClaim{ConsumerGroupClaim: claim, out: make(chan *sarama.ConsumerMessage)}
	ctx, cancel := context.WithCancel(session.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		batched.run(ctx, h.processor.batches)
	}()
	err := h.goka.ConsumeClaim(uncommitting{session}, batched)
	cancel()
	<-done
	return err
}

// uncommitting is the session as goka sees it: it cannot commit offsets.
type uncommitting struct{ sarama.ConsumerGroupSession }

func (uncommitting) MarkOffset(string, int32, int64, string)     {}
func (uncommitting) ResetOffset(string, int32, int64, string)    {}
func (uncommitting) MarkMessage(*sarama.ConsumerMessage, string) {}
func (uncommitting) Commit()                                     {}

// batchedClaim gathers what has been fetched into batches. An idle partition's record is passed on at once.
type batchedClaim struct {
	sarama.ConsumerGroupClaim
	out chan *sarama.ConsumerMessage
}

// Messages implements sarama.ConsumerGroupClaim.
func (c *batchedClaim) Messages() <-chan *sarama.ConsumerMessage { return c.out }

// run ends when the claim or the context does, and closes the channel that goka reads.
func (c *batchedClaim) run(ctx context.Context, registry *batches) {
	defer close(c.out)
	in := c.ConsumerGroupClaim.Messages()
	for {
		var first *sarama.ConsumerMessage
		var ok bool
		select {
		case first, ok = <-in:
			if !ok {
				return
			}
		case <-ctx.Done():
			return
		}
		b := &batch{partition: first.Partition, records: make([]task.Record, 0, min(batchRecords, 1+len(in)))}
		b.records = appendRecord(b.records, first)
		more := true
		for more && len(b.records) < batchRecords {
			select {
			case message, open := <-in:
				if !open {
					more = false
					break
				}
				b.records = appendRecord(b.records, message)
			default:
				more = false
			}
		}
		message := &sarama.ConsumerMessage{
			Topic: first.Topic, Partition: first.Partition, Timestamp: first.Timestamp,
			Offset: b.records[len(b.records)-1].Offset, Value: registry.put(b),
		}
		select {
		case c.out <- message:
		case <-ctx.Done():
			return
		}
	}
}
