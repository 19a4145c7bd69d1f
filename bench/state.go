package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stateInterval is the pace of commands while the processor is killed.
const stateInterval = 5 * time.Millisecond

// runState fills a processor with n values, kills it at work and starts it again, then lets it restore on an empty disk.
func runState(ctx context.Context, s *session, c contender, n int) (map[string]float64, error) {
	if err := s.load(ctx, n, n); err != nil {
		return nil, err
	}
	s.loaded = "" // more commands follow
	p := s.processor(c, "state")
	run, values, err := s.fill(ctx, p, n)
	if err != nil {
		return nil, err
	}
	s.say("    filled in %.1f s; killed and started again", values["wall_s"])
	run, err = s.killed(ctx, p, run, values)
	if err != nil {
		run.kill()
		return nil, err
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	values["memory_mb"] = float64(used.memory) / (1 << 20)
	s.say("    running again after %.2f s; stopped, and started on an empty disk", values["running_s"])
	return values, s.restored(ctx, p, values)
}

// killed kills the processor while it works and starts it again. It runs again when a command written after the kill has its
// event readable.
func (s *session) killed(ctx context.Context, p *processor, run *process, values map[string]float64) (*process, error) {
	cl, err := s.producer(kgo.ProducerLinger(0))
	if err != nil {
		return run, err
	}
	defer cl.Close()
	events, err := s.readEvents(p, kgo.NewOffset().AtEnd())
	if err != nil {
		return run, err
	}
	defer events.Close()
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var written atomic.Int64
	go func() {
		for i := 0; writing.Err() == nil; i++ {
			r := command(i, 1<<30) // an update of value i
			r.Value = fmt.Appendf(nil, `{"id":"%s-%d","action":"UpdateValue","data":{"value-id":"%s","operation":"ADD","value":1.5},"timestamp":%d}`, p.group, i, r.Key, beginning+i)
			written.Store(int64(i))
			cl.Produce(writing, r, nil)
			time.Sleep(stateInterval)
		}
	}()
	if _, err := firstAfter(ctx, events, 20); err != nil { // it works, and the reader reads
		return run, err
	}
	run.kill()
	killed, last := time.Now(), written.Load()
	if run, err = s.start(ctx, p); err != nil {
		return run, err
	}
	ready, err := run.await(ctx, "running")
	if err != nil {
		return run, err
	}
	first, err := firstAfter(ctx, events, int(last)+1)
	if err != nil {
		return run, err
	}
	values["ready_again_s"], values["running_s"], values["outage_s"] = ready.Sub(run.began).Seconds(), first.Sub(run.began).Seconds(), first.Sub(killed).Seconds()
	return run, nil
}

// firstAfter waits for an event of value i or one after it.
func firstAfter(ctx context.Context, events *kgo.Client, i int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		found := false
		fetches := events.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) { found = found || valueIndex(r.Key) >= i })
		if found {
			return time.Now(), nil
		}
		if err := ctx.Err(); err != nil {
			return time.Time{}, fmt.Errorf("no event of a new command: %w", err)
		}
	}
}

// restored starts the processor on an empty disk.
func (s *session) restored(ctx context.Context, p *processor, values map[string]float64) error {
	if err := errors.Join(s.removeMembers(ctx, p.group), os.RemoveAll(p.dir)); err != nil {
		return err
	}
	run, err := s.start(ctx, p)
	if err != nil {
		return err
	}
	defer run.kill()
	ready, err := run.await(ctx, "running")
	if err != nil {
		return err
	}
	began, found := run.first("restoring")
	if !found {
		return errors.New("it runs on an empty disk, but said nothing of a restore")
	}
	values["restore_s"], values["restore_start_s"] = ready.Sub(began).Seconds(), ready.Sub(run.began).Seconds()
	used, err := run.stop()
	values["restore_cpu_s"] = used.cpu.Seconds()
	return err
}

// removeMembers removes what is left of a stopped processor from its group: Kafka Streams does not leave it by itself, and
// the restore is not to wait for its session's end.
func (s *session) removeMembers(ctx context.Context, group string) error {
	_, members, err := s.admin.GroupMembers(ctx, group)
	if err != nil || len(members) == 0 {
		return err
	}
	cl, err := s.producer()
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, member := range members {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = member.ID
		if member.InstanceID != "" {
			m.InstanceID = &member.InstanceID
		}
		req.Members = append(req.Members, m)
	}
	_, err = req.RequestWith(ctx, cl)
	return err
}
