package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stateInterval is the pace of commands while the processor is killed.
const stateInterval = 10 * time.Millisecond

// Each run of a processor has its own values to update while it is killed, so that an event tells which run's it is.
const (
	region  = 10_000
	regions = 8
)

// runState fills a processor with n values, kills it at work and starts it again, then lets it restore on an empty disk.
func runState(ctx context.Context, s *session, c contender, n int) (map[string]float64, error) {
	if err := s.load(ctx, n, n); err != nil {
		return nil, err
	}
	ends, err := s.admin.EndOffsets(ctx, commandsTopic)
	if err != nil {
		return nil, err
	}
	total := 0 // the load, and what was written while earlier contenders were killed
	for _, end := range ends[commandsTopic] {
		total += int(end)
	}
	p := s.processor(c, "state")
	run, values, err := s.fill(ctx, p, total)
	if err != nil {
		return nil, err
	}
	s.say("    filled in %.1f s", values["wall_s"])
	if s.round == 0 || !slices.Contains(slowToReturn, c.name) {
		if run, err = s.killed(ctx, p, run, values); err != nil {
			run.kill()
			return nil, err
		}
		s.say("    killed, and running again after %.2f s", values["running_s"])
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	values["memory_mb"] = float64(used.memory) / (1 << 20)
	return values, s.restored(ctx, p, values)
}

// slowToReturn are those that sit out their session's time-out, 45 s: once is enough to see it.
var slowToReturn = []string{"streams", "streams-alo"}

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
	base := s.runs % regions * region
	go func() {
		for i := base; writing.Err() == nil && i < base+region; i++ {
			r := command(i, 1<<30) // an update of value i
			r.Value = fmt.Appendf(nil, `{"id":"%s-%d","action":"UpdateValue","data":{"value-id":"%s","operation":"ADD","value":1.5},"timestamp":%d}`, p.group, i, r.Key, beginning+i)
			written.Store(int64(i))
			cl.Produce(writing, r, nil)
			time.Sleep(stateInterval)
		}
	}()
	if _, err := firstAfter(ctx, events, base+20, base+region); err != nil { // it works, and the reader reads
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
	first, err := firstAfter(ctx, events, int(last)+1, base+region)
	if err != nil {
		return run, err
	}
	values["running_cpu_s"] = cpuOf(run.cmd.Process.Pid)
	values["ready_again_s"], values["running_s"], values["outage_s"] = ready.Sub(run.began).Seconds(), first.Sub(run.began).Seconds(), first.Sub(killed).Seconds()
	return run, nil
}

// firstAfter waits for an event of value i or one after it, below the end.
func firstAfter(ctx context.Context, events *kgo.Client, i, end int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		found := false
		fetches := events.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			value := valueIndex(r.Key)
			found = found || value >= i && value < end
		})
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
