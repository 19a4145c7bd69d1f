package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands/internal/fakelog"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
)

const deadline = 20 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// world is a log with a processor and a follower over an index.
type world struct {
	t        *testing.T
	log      *fakelog.Log
	spec     follow.Topics
	follower *follow.Follower
}

func newWorld(t *testing.T, partitions int, index follow.Index, hold func()) *world {
	t.Helper()
	w := &world{t: t, log: fakelog.New(), spec: fakelog.Spec("app")}
	w.log.CreateTopics(w.spec, partitions)
	w.log.Marking(runtime.Gosched)
	w.follower = w.follow(index)
	w.process(&fakelog.Processor{Spec: w.spec, Batch: 3, Hold: hold})
	return w
}

// follow runs a follower over the index until the test ends.
func (w *world) follow(index follow.Index) *follow.Follower {
	follower := follow.New(follow.Config{
		Spec: w.spec, Log: w.log, Index: index, Logger: quiet(),
		Timing: follow.Timing{Retry: time.Millisecond, Patience: time.Millisecond, Poll: 100 * time.Microsecond},
	})
	w.run(func(ctx context.Context) error { return follower.Run(ctx) })
	eventually(w.t, "the follower is ready", follower.CaughtUp)
	return follower
}

func (w *world) process(p *fakelog.Processor) {
	w.run(func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := w.log.Process(ctx, p); err != nil && !errors.Is(err, fakelog.ErrDown) {
				return err
			}
			runtime.Gosched()
		}
		return nil
	})
}

// run runs f until the test ends.
func (w *world) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("it ended with %v", err)
		}
	})
}

func (w *world) send(partition int32, id, body string) outcome.Command {
	w.t.Helper()
	offset, err := w.log.Append(follow.Record{
		Topic: w.spec.Commands, Partition: partition, Key: []byte("key"), Value: []byte(body), Timestamp: 1_700_000_000_000,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome.Command{ID: id, Position: outcome.Position{Topic: w.spec.Commands, Partition: partition, Offset: offset}}
}

func (w *world) do(partition int32, id, do string) outcome.Command {
	return w.send(partition, id, fmt.Sprintf(`{"id":%q,"do":%q}`, id, do))
}

func (w *world) await(command outcome.Command) outcome.Outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	found, err := w.follower.Await(ctx, command)
	if err != nil {
		w.t.Fatalf("waiting for %+v: %v", command, err)
	}
	return found
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t, 2, follow.NewMemory(1000), nil)
	got := w.await(w.do(1, "a", "events:2"))
	if got.Status != outcome.Accepted || len(got.Events) != 2 || got.Events[0].ID != "a/0" || got.Events[1].Partition != 1 {
		t.Errorf("two events: %+v", got)
	}
	got = w.await(w.do(0, "b", "reject:not-found"))
	if got.Status != outcome.Rejected || got.Kind != "not-found" || got.Reason != "because" || got.HTTPStatus() != 404 {
		t.Errorf("rejection: %+v", got)
	}
	got = w.await(w.do(0, "c", "nothing"))
	if got.Status != outcome.Accepted || len(got.Events) != 0 || got.Duplicate {
		t.Errorf("silence: %+v", got)
	}
	got = w.await(w.send(0, "", "no JSON"))
	if got.Status != outcome.Failed || got.Kind != "decode" || got.Reason != "no JSON" {
		t.Errorf("dead letter: %+v", got)
	}
	got = w.await(w.do(0, "b", "reject:not-found"))
	if got.Status != outcome.Rejected || !got.Duplicate || got.Kind != "not-found" {
		t.Errorf("retry of a rejected command: %+v", got)
	}
	got = w.await(w.do(1, "a", "events:3"))
	if got.Status != outcome.Rejected || got.Kind != outcome.KindIdempotencyConflict {
		t.Errorf("the same id with another body: %+v", got)
	}
	got = w.await(w.do(1, "a", "events:2"))
	if got.Status != outcome.Accepted || !got.Duplicate || len(got.Events) != 2 {
		t.Errorf("retry after a conflict: %+v", got)
	}
	if _, err := w.follower.Await(context.Background(), outcome.Command{Position: outcome.Position{Topic: "other"}}); !errors.Is(err, follow.ErrOtherTopic) {
		t.Errorf("another topic: %v", err)
	}
}

// TestForgotten: an index that begins at the end, or is full, does not take silence for consent.
func TestForgotten(t *testing.T) {
	w := newWorld(t, 1, follow.NewMemory(2), nil)
	first := w.do(0, "a", "reject:conflict")
	w.await(first)
	for i := range 3 {
		w.await(w.do(0, fmt.Sprint("b", i), "events:1"))
	}
	if got := w.await(first); got.Status != outcome.Settled {
		t.Errorf("a forgotten outcome: %+v", got)
	}
	retry := w.do(0, "a", "reject:conflict")
	retry.Retry = true
	if got := w.await(retry); got.Status != outcome.Settled {
		t.Errorf("a retry of a forgotten command: %+v", got)
	}
	w.follower = w.follow(follow.NewMemory(100))
	if got := w.await(first); got.Status != outcome.Settled {
		t.Errorf("a command from before: %+v", got)
	}
}

func TestPendingUntilDeadline(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, 1, follow.NewMemory(10), func() { <-gate })
	command := w.do(0, "a", "events:1")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if got, err := w.follower.Await(ctx, command); got.Status != outcome.Pending || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before the processor: %+v, %v", got, err)
	}
	close(gate)
	if got := w.await(command); got.Status != outcome.Accepted {
		t.Errorf("after: %+v", got)
	}
}

// TestMarkersLate: the group's offset is visible before the marker of the same transaction has reached the topic of
// rejections. Silence must not be believed meanwhile.
func TestMarkersLate(t *testing.T) {
	w := newWorld(t, 1, follow.NewMemory(10), nil)
	marked := make(chan struct{})
	w.log.Marking(func() { <-marked })
	command := w.do(0, "a", "reject:conflict")
	eventually(t, "the group's offset is committed", func() bool {
		committed, err := w.log.Committed(context.Background(), w.spec.Group, w.spec.Commands)
		return err == nil && committed[0] == 1
	})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if got, err := w.follower.Await(ctx, command); err == nil {
		t.Errorf("before the marker: %+v", got)
	}
	close(marked)
	if got := w.await(command); got.Status != outcome.Rejected {
		t.Errorf("after it: %+v", got)
	}
}

// TestManyWait has many clients with random commands, the log going down and up, and markers that reach partitions one
// after the other: no outcome is wrong.
func TestManyWait(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, 3, follow.NewMemory(100000), nil)
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			for i := range 60 {
				id := fmt.Sprintf("%d-%d", client, i)
				do := []string{"events:1", "events:3", "reject:invalid", "nothing"}[random.IntN(4)]
				command, err := w.trySend(random.Int32N(3), id, do)
				if err != nil {
					continue
				}
				got := w.await(command)
				want := map[string]string{"events:1": "accepted 1", "events:3": "accepted 3", "reject:invalid": "rejected 0", "nothing": "accepted 0"}[do]
				if have := fmt.Sprint(got.Status, " ", len(got.Events)); have != want {
					t.Errorf("%s: %s is %s: %+v", id, do, have, got)
				}
			}
		})
	}
	w.run(func(ctx context.Context) error {
		random := rand.New(rand.NewPCG(seed, 99))
		for i := 0; i < 5 && ctx.Err() == nil; i++ {
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			w.log.SetDown(true)
			time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
			w.log.SetDown(false)
		}
		return nil
	})
	clients.Wait()
}

func (w *world) trySend(partition int32, id, do string) (outcome.Command, error) {
	offset, err := w.log.Append(follow.Record{
		Topic: w.spec.Commands, Partition: partition, Key: []byte("k"), Value: fmt.Appendf(nil, `{"id":%q,"do":%q}`, id, do),
	})
	return outcome.Command{ID: id, Position: outcome.Position{Topic: w.spec.Commands, Partition: partition, Offset: offset}}, err
}
