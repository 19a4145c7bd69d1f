package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The pace of the latency's client.
const (
	interval  = 10 * time.Millisecond
	minWarmUp = 3 * time.Second
)

// runLatency writes commands at a steady pace and reads the events, committed ones only: how long from the one to the other?
func runLatency(ctx context.Context, s *session, c contender) (map[string]float64, error) {
	if err := s.emptyCommands(ctx); err != nil {
		return nil, err
	}
	p := s.processor(c, "latency")
	run, err := s.start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer run.kill()
	if _, err := run.await(ctx, "running"); err != nil {
		return nil, err
	}
	warm := int(max(s.paced/2, minWarmUp) / interval)
	n := warm + int(s.paced/interval)
	took, err := s.pace(ctx, p, n)
	if err != nil {
		return nil, err
	}
	used, err := run.stop()
	if err != nil {
		return nil, err
	}
	measured := took[warm:]
	slices.Sort(measured)
	at := func(q float64) float64 { return measured[int(q*float64(len(measured)-1))].Seconds() * 1e3 }
	return map[string]float64{
		"p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1),
		"cpu_s": used.cpu.Seconds(), "memory_mb": float64(used.memory) / (1 << 20),
	}, nil
}

// pace writes n commands, one each interval, and returns how long each took to its event.
func (s *session) pace(ctx context.Context, p *processor, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n)*interval+30*time.Second)
	defer cancel()
	cl, err := s.producer(kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	consumer, err := s.readEvents(p, kgo.NewOffset().AtStart())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	sent, took := make([]atomic.Int64, n), make([]time.Duration, n)
	done := make(chan error, 1)
	go func() {
		for seen := 0; seen < n; {
			fetches := consumer.PollFetches(ctx)
			now := time.Now().UnixNano()
			if err := ctx.Err(); err != nil {
				done <- fmt.Errorf("%d of %d events are missing: %w", n-seen, n, err)
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if i := valueIndex(r.Key); i < n && took[i] == 0 {
					took[i] = time.Duration(now - sent[i].Load())
					seen++
				}
			})
		}
		done <- nil
	}()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var failed atomic.Pointer[error]
	for i := range n {
		<-ticker.C
		r := command(i, n)
		sent[i].Store(time.Now().UnixNano())
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	err = <-done
	if first := failed.Load(); first != nil {
		err = errors.Join(err, *first)
	}
	return took, err
}

// readEvents returns a consumer of a processor's events, committed ones only.
func (s *session) readEvents(p *processor, from kgo.Offset) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.ConsumeTopics(p.events), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(from), kgo.FetchMaxWait(5*time.Second), kgo.MetadataMinAge(50*time.Millisecond))
}

// valueIndex is the number of a value by its id.
func valueIndex(key []byte) int {
	i := 0
	for _, digit := range key[:min(8, len(key))] {
		i = 10*i + int(digit-'0')
	}
	return i
}
