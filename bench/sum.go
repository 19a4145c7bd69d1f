package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// total is what a processor's events come to: all contenders must come to the same.
type total struct {
	events int
	hash   uint64 // of what happened to which value, in any order of values
}

// sum reads all events, committed ones only, and adds up what they say.
func (s *session) sum(ctx context.Context, p *processor) (total, error) {
	ends, err := s.admin.StableOffsets(ctx, p.events)
	if err != nil {
		return total{}, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()), kgo.ConsumeTopics(p.events),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return total{}, err
	}
	defer cl.Close()
	left := map[int32]int64{}
	for partition, end := range ends[p.events] {
		if end > 0 {
			left[partition] = end
		}
	}
	var t total
	for len(left) > 0 {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		fetches := cl.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			return t, fmt.Errorf("reading the events: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				t.add(r)
			}
		})
	}
	return t, nil
}

// add adds one event: its value's id, action and result. Ids of events differ between contenders.
func (t *total) add(r *kgo.Record) {
	var event struct {
		ParentID string `json:"parent-id"`
		Action   string `json:"action"`
		Data     struct {
			Value  float64 `json:"value"`
			Result float64 `json:"result"`
		} `json:"data"`
	}
	if json.Unmarshal(r.Value, &event) != nil {
		return // an event less, which shows
	}
	t.events++
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s %s %g %g", r.Key, event.ParentID, event.Action, event.Data.Value, event.Data.Result)
	t.hash += h.Sum64()
}
