package processors_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/processors"
)

// TestNothingIsLeftBehind: when Run has returned, no goroutine of the processor runs, whatever happened before.
func TestNothingIsLeftBehind(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	at := kafkatest.At(b.Addr())
	for i, guarantee := range []processors.Guarantee{processors.ExactlyOnce, processors.AtLeastOnce} {
		app, c := at.Name(t), config(t, at)
		c.Guarantee = guarantee
		before := goroutines()
		w := newWorkload(app, uint64(i), 10)
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		<-p.Ready()
		at.Produce(t, w.add(200)...)
		w.await(t, at, 30*time.Second)
		// A second instance makes the first one's session end.
		other := c
		other.InstanceID, other.StateDir = "two", t.TempDir()
		second, err := processors.New(mustLedger(t, app), other)
		if err != nil {
			t.Fatal(err)
		}
		run(t, second)()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the processor ended with: %v", err)
		}
		var left string
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if left = more(before, goroutines()); left == "" {
				break
			}
		}
		if left != "" {
			t.Errorf("%s: goroutines are left behind:\n%s", guarantee, left)
		}
	}
}

// goroutines returns the stacks of those goroutines that are not the broker's, the test's, or the one for the whole process
// by which sarama's metrics tell the time.
func goroutines() []string {
	buffer := make([]byte, 4<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	var ours []string
	for stack := range strings.SplitSeq(string(buffer), "\n\n") {
		if !strings.Contains(stack, "/kfake") && !strings.Contains(stack, "testing.") && !strings.Contains(stack, "internal/broker") && !strings.Contains(stack, "meterArbiter") {
			ours = append(ours, stack)
		}
	}
	return ours
}

func more(before, now []string) string {
	if len(now) <= len(before) {
		return ""
	}
	return strings.Join(now, "\n\n")
}
