package processors_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuses expects that Run ends with an error, whose text contains what to do about it.
func refuses(t *testing.T, app string, c processors.Config, want error, texts ...string) {
	t.Helper()
	p, err := processors.New(mustLedger(t, app), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch err = p.Run(ctx); {
	case ctx.Err() != nil:
		t.Errorf("the processor runs, want %q", want)
	case !errors.Is(err, want):
		t.Errorf("the processor ended with %v, want %q", err, want)
	default:
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the error does not say %q: %v", text, err)
			}
		}
	}
	if status := p.Status(); status.Running() {
		t.Errorf("the status says that it runs: %+v", status)
	}
}

// worked runs the ledger over n commands and stops it, drained.
func worked(t *testing.T, b kafkatest.Broker, c processors.Config, app string, n int) *workload {
	t.Helper()
	w := newWorkload(app, 1, 20)
	again(t, b, c, w, n)
	return w
}

// again runs the ledger over n more commands and stops it, drained.
func again(t *testing.T, b kafkatest.Broker, c processors.Config, w *workload, n int) {
	t.Helper()
	built := mustLedger(t, w.app)
	p, err := processors.New(built, c)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, p)
	if n > 0 {
		b.Produce(t, w.add(n)...)
	}
	w.await(t, b, 30*time.Second)
	stop()
	if err := processors.RemoveInstance(t.Context(), built, c, c.InstanceID); err != nil {
		t.Fatal(err)
	}
}

func admin(t *testing.T, b kafkatest.Broker) *log.Admin {
	t.Helper()
	a, err := log.NewAdmin(kafka.Config{Brokers: b.Brokers()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func deleteTopic(t *testing.T, b kafkatest.Broker, name string) {
	t.Helper()
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.TimeoutMillis = []string{name}, 10_000
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(t.Context(), b.Client(t))
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("deleting topic %s: %v", name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if names, err := admin(t, b).Topics(t.Context()); err == nil && !strings.Contains(fmt.Sprint(names, " "), name+" ") {
			return
		}
	}
}

// TestRefusesLostOffsets: an expired group must not begin again from the first command on top of its state.
func TestRefusesLostOffsets(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		for _, commands := range []int{1, 200} { // one commit is a commit
			app, c := b.Name(t), config(t, b)
			worked(t, b, c, app, commands)
			if err := admin(t, b).DeleteGroup(t.Context(), app+"-commands"); err != nil {
				t.Fatal(err)
			}
			refuses(t, app, c, processors.ErrNoCommittedOffset, "tidemill reset "+app)
			c.StateDir = t.TempDir()
			refuses(t, app, c, processors.ErrNoCommittedOffset, "tidemill reset "+app)
		}
	})
}

// TestRefusesForeignOffsets: offsets that another tool has set do not belong to the state.
func TestRefusesForeignOffsets(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		worked(t, b, c, app, 200)
		to := log.Positions{}
		for number := range int32(ledgerPartitions) {
			to.Set(app+"-commands", number, log.Position{Offset: 0, LeaderEpoch: -1})
		}
		if err := admin(t, b).AlterOffsets(t.Context(), app+"-commands", to); err != nil {
			t.Fatal(err)
		}
		refuses(t, app, c, processors.ErrForeignOffset, "tidemill reset "+app)
	})
}

// TestRefusesDeletedCommands: an offset out of range is an error, never a reset.
func TestRefusesDeletedCommands(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		w := worked(t, b, c, app, 200)
		b.Produce(t, w.add(200)...)
		before := log.Offsets{app + "-commands": {}}
		for number := range int32(ledgerPartitions) {
			before[app+"-commands"][number] = b.End(t, app+"-commands", number, false)
		}
		if err := admin(t, b).DeleteRecords(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		refuses(t, app, c, processors.ErrOffsetOutOfRange, "tidemill reset "+app)
	})
}

// lines is what was logged; goroutines write into it.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestWarnsOfStateThatBeginsEmpty(t *testing.T) {
	b := kafkatest.Embedded(t)
	var logged lines
	c := config(t, b)
	app := b.Name(t)
	worked(t, b, c, app, 20)
	deleteTopic(t, b, app+"-accounts-changelog")
	c.StateDir, c.Logger = t.TempDir(), slog.New(slog.NewTextHandler(&logged, nil))
	p, err := processors.New(mustLedger(t, app), c)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, p)
	stop()
	if said := logged.String(); !strings.Contains(said, "begins empty") || !strings.Contains(said, "tidemill reset") {
		t.Errorf("nothing is said of the state that is gone:\n%s", said)
	}
}

// TestRefusesTopicsMadeAnew: neither offsets nor state are those of the new topic.
func TestRefusesTopicsMadeAnew(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		for _, suffix := range []string{"-commands", "-accounts-changelog"} {
			app, c := b.Name(t), config(t, b)
			worked(t, b, c, app, 50)
			deleteTopic(t, b, app+suffix)
			refuses(t, app, c, processors.ErrTopicRecreated, app+suffix, "tidemill reset "+app)
		}
	})
}

// TestEndsWhenItsTopicIsMadeAnew: the same while it runs.
func TestEndsWhenItsTopicIsMadeAnew(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		<-p.Ready()
		w := newWorkload(app, 1, 20)
		b.Produce(t, w.add(50)...)
		w.await(t, b, 30*time.Second)
		deleteTopic(t, b, app+"-commands")
		b.CreateTopic(t, app+"-commands", ledgerPartitions, map[string]string{"retention.ms": "-1"})
		b.Produce(t, w.add(50)...)
		if err := <-done; ctx.Err() != nil || !errors.Is(err, processors.ErrTopicRecreated) && !errors.Is(err, processors.ErrOffsetOutOfRange) && !errors.Is(err, processors.ErrNoCommittedOffset) {
			t.Errorf("the processor ended with %v", err)
		}
	})
}

// TestRefusesTopicsAsTheyAre: what cannot be created or is not as declared is named with its fix.
func TestRefusesTopicsAsTheyAre(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		t.Run("missing", func(t *testing.T) {
			app, c := b.Name(t), config(t, b)
			c.CreateTopics = false
			refuses(t, app, c, kafka.ErrTopicMissing, app+"-commands", app+"-events", app+"-rejections", "--create")
		})
		t.Run("partitions", func(t *testing.T) {
			app, c := b.Name(t), config(t, b)
			b.CreateTopic(t, app+"-commands", ledgerPartitions+1, map[string]string{"retention.ms": "-1"})
			refuses(t, app, c, kafka.ErrPartitionMismatch, app+"-commands has 5 partitions, 4 are wanted")
		})
		t.Run("changelog's partitions", func(t *testing.T) {
			app, c := b.Name(t), config(t, b)
			b.CreateTopic(t, app+"-accounts-changelog", 1, map[string]string{"cleanup.policy": "compact"})
			refuses(t, app, c, kafka.ErrPartitionMismatch, app+"-accounts-changelog has 1 partitions, 4 are wanted",
				"its source "+app+"-commands has", "tidemill reset "+app, "do not delete "+app+"-accounts-changelog")
		})
		t.Run("retention", func(t *testing.T) {
			app, c := b.Name(t), config(t, b)
			b.CreateTopic(t, app+"-commands", ledgerPartitions, map[string]string{"retention.ms": "1000000"})
			refuses(t, app, c, kafka.ErrTopicConfig, app+"-commands", "retention.ms")
		})
		t.Run("dead letters as somebody has made them", func(t *testing.T) {
			app, c := b.Name(t), config(t, b)
			b.CreateTopic(t, app+"-dead-letters", 3, map[string]string{"retention.ms": "1000000"})
			worked(t, b, c, app, 1)
		})
	})
}

// TestRefusesSecondProcess on one state directory.
func TestRefusesSecondProcess(t *testing.T) {
	b := kafkatest.Embedded(t)
	app, c := b.Name(t), config(t, b)
	p, err := processors.New(mustLedger(t, app), c)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, p)
	refuses(t, app, c, processors.ErrStateInUse, filepath.Join(c.StateDir, app))
	stop()
	again(t, b, c, newWorkload(app, 1, 5), 10)
}

// TestRefusesUnreachableBroker at the start.
func TestRefusesUnreachableBroker(t *testing.T) {
	c := processors.Config{Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}, RequestTimeout: time.Second}, StateDir: t.TempDir()}
	refuses(t, "ledger", c, kafka.ErrUnreachable, "127.0.0.1:1")
}

// TestStopsWhileItStarts without an error.
func TestStopsWhileItStarts(t *testing.T) {
	b := kafkatest.Embedded(t)
	for i := range 20 {
		p, err := processors.New(mustLedger(t, b.Name(t)), config(t, b))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i)*3*time.Millisecond, cancel)
		if err := p.Run(ctx); err != nil {
			t.Errorf("stopped after %d ms, the processor ended with: %v", i*3, err)
		}
	}
}
