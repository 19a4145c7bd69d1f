package bridge

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/recordbatch"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/task"
)

// How a restore waits.
const (
	// restorePoll is how long a changelog that showed nothing is left alone until it is asked again.
	restorePoll = 50 * time.Millisecond
	// restoreDeparted is how often, while a transaction holds the changelogs up, it is looked for whose it is.
	restoreDeparted = time.Second
)

// leastReaders is at least how many changelogs are read at a time. Each has up to two fetches in memory.
const leastReaders = 4

// reading is a Read of changelogs: a goroutine for each, some of which read at a time.
type reading struct {
	changelogs
	slots   chan struct{}
	moved   atomic.Bool // something was read since it was last looked at
	running sync.WaitGroup
	end     context.CancelFunc

	mu      sync.Mutex
	leaders map[commit.Place]int32 // guarded by mu
	failed  error                  // the first failure; guarded by mu
}

// Read implements restore.Source: it reads the pending changelogs side by side, committed records only, until each has passed
// its target.
func (r changelogs) Read(ctx context.Context, pending map[commit.Place]*restore.Store) error {
	under, end := context.WithCancel(ctx)
	defer end()
	reading := &reading{
		changelogs: r, slots: make(chan struct{}, max(leastReaders, runtime.GOMAXPROCS(0))), end: end, leaders: map[commit.Place]int32{},
	}
	for place, s := range pending {
		reading.running.Go(func() { reading.note(reading.read(under, place, s)) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		reading.running.Wait()
	}()
	reading.endDeparted(under, done)
	<-done
	if ctx.Err() != nil {
		return fmt.Errorf("the session has ended: %w", ctx.Err())
	}
	return reading.failed
}

// note ends the reading at the first failure.
func (r *reading) note(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	r.end()
}

// endDeparted waits until all is read, and meanwhile, where nothing can be, ends the transactions of departed instances.
func (r *reading) endDeparted(ctx context.Context, done <-chan struct{}) {
	ticker := time.NewTicker(restoreDeparted)
	defer ticker.Stop()
	for held := 0; ; {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
			if r.moved.Swap(false) {
				continue
			}
			held++
			if err := r.processor.endDeparted(ctx, held); err != nil {
				r.note(err)
				return
			}
		}
	}
}

// read reads a changelog to its target. Where there is nothing to read for now, others have its turn.
func (r *reading) read(ctx context.Context, place commit.Place, s *restore.Store) error {
	for !s.Done() {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := r.readOn(ctx, place, s)
		<-r.slots
		if err != nil {
			return fmt.Errorf("reading %s/%d: %w", place.Topic, place.Partition, err)
		}
		if s.Done() {
			return nil
		}
		select {
		case <-time.After(restorePoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// readOn reads a changelog as far as there is something, the next fetch under way while one is applied.
func (r *reading) readOn(ctx context.Context, place commit.Place, s *restore.Store) error {
	batches := recordbatch.NewReader()
	for ahead := r.start(ctx, place, s.Next()); ; {
		got := <-ahead
		if got.err != nil || got.partition == nil {
			return got.err
		}
		at := s.Next()
		next := recordbatch.Next(got.partition.RecordBatches, at)
		if next == at {
			if len(got.partition.RecordBatches) == 0 {
				// What lies before the last stable offset was removed by compaction.
				s.Passed(max(at, got.partition.LastStableOffset))
				return nil
			}
			return applyFetched(s, batches, got.partition, at) // it says what is wrong with them
		}
		more := next < s.Target()
		if more {
			ahead = r.start(ctx, place, next)
		}
		if err := applyFetched(s, batches, got.partition, at); err != nil {
			return err
		}
		if r.moved.Store(true); !more {
			return nil
		}
	}
}

// applyFetched adds what was fetched to a store.
func applyFetched(s *restore.Store, batches *recordbatch.Reader, fetched *kmsg.FetchResponseTopicPartition, from int64) error {
	var headers []graph.Header // nothing keeps them
	next, err := batches.Committed(fetched, from, func(record *recordbatch.Record) error {
		headers = headers[:0]
		for _, header := range record.Headers {
			headers = append(headers, graph.Header(header))
		}
		return s.Apply(task.Record{
			Offset: record.Offset, Key: record.Key, Value: record.Value, Headers: headers, Timestamp: record.Timestamp,
		}, record.Control)
	})
	if err != nil {
		return err
	}
	s.Passed(next)
	return s.Flush()
}
