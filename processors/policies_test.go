package processors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/processors"
)

// poison are records that cannot be processed, each with the kind of its dead letter and a part of what went wrong.
func poison(app string) []struct {
	record     *kgo.Record
	kind, text string
} {
	topic := app + "-commands"
	user := []kgo.RecordHeader{{Key: "trace", Value: []byte("t-1")}}
	return []struct {
		record     *kgo.Record
		kind, text string
	}{
		{&kgo.Record{Topic: topic, Key: []byte("account-1"), Value: []byte(`{"id":"broken`), Headers: user}, "decode", ""},
		{&kgo.Record{Topic: topic, Key: []byte("account-2"), Value: []byte{0xff, 0x00, 0xfe}, Headers: user}, "decode", ""},
		{&kgo.Record{Topic: topic, Key: []byte("account-3"), Value: fmt.Appendf(nil, `{"id":"boom","add":%d}`, explosive), Headers: user}, "process", "panic: this code has a bug"},
		{&kgo.Record{Topic: topic, Key: nil, Value: []byte(`{"id":"keyless","add":1}`), Headers: user}, "invalid", "no key"},
		{&kgo.Record{Topic: topic, Key: []byte("account-4"), Value: nil, Headers: user}, "invalid", "tombstone"},
		{&kgo.Record{Topic: topic, Key: []byte("account-5"), Value: []byte(`{"id":"","add":1}`), Headers: user}, "invalid", "no id"},
	}
}

// TestDeadLetters: poisoned records between good ones go to the dead-letter topic, once, with their bytes and where they stood;
// the good ones of the same keys have their effect.
func TestDeadLetters(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		w := newWorkload(app, 1, 10)
		client := b.Client(t)
		for _, bad := range poison(app) {
			b.Produce(t, w.add(30)...)
			if err := client.ProduceSync(t.Context(), bad.record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		b.Produce(t, w.add(30)...)
		w.await(t, b, 30*time.Second)
		w.compareState(t, b)
		letters := b.ReadAll(t, app+"-dead-letters", true)
		if len(letters) != len(poison(app)) {
			t.Fatalf("%d dead letters, want %d", len(letters), len(poison(app)))
		}
		for _, bad := range poison(app) {
			checkLetter(t, b, letters, app, bad.record, bad.kind, bad.text)
		}
		stop()
		// A new session, and a restart, do not write them again.
		again(t, b, c, w, 20)
		if got := len(b.ReadAll(t, app+"-dead-letters", true)); got != len(letters) {
			t.Errorf("%d dead letters after a restart, want %d", got, len(letters))
		}
	})
}

// checkLetter finds the dead letter of a record.
func checkLetter(t *testing.T, b kafkatest.Broker, letters []*kgo.Record, app string, bad *kgo.Record, kind, text string) {
	t.Helper()
	for _, letter := range letters {
		if !bytes.Equal(letter.Key, bad.Key) || !bytes.Equal(letter.Value, bad.Value) || (letter.Key == nil) != (bad.Key == nil) || (letter.Value == nil) != (bad.Value == nil) {
			continue
		}
		headers := map[string]string{}
		for _, header := range letter.Headers {
			headers[header.Key] = string(header.Value)
		}
		for _, original := range b.ReadAll(t, app+"-commands", false) {
			if fmt.Sprint(original.Partition) == headers[meta.DeadPartition] && fmt.Sprint(original.Offset) == headers[meta.DeadOffset] {
				if !bytes.Equal(original.Value, bad.Value) || fmt.Sprint(original.Timestamp.UnixMilli()) != headers[meta.DeadTimestamp] {
					t.Errorf("the dead letter of %q names another record: %v", bad.Value, headers)
				}
				break
			}
		}
		if headers[meta.DeadTopic] != app+"-commands" || headers[meta.DeadKind] != kind || headers["trace"] != "t-1" ||
			headers[meta.DeadError] == "" || !strings.Contains(headers[meta.DeadError], text) || headers[meta.DeadNode] == "" {
			t.Errorf("the dead letter of %q has the headers %v; want kind %s and %q", bad.Value, headers, kind, text)
		}
		return
	}
	t.Errorf("there is no dead letter of %q", bad.Value)
}

// TestSkip drops the poisoned records and goes on.
func TestSkip(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		c.OnError = processors.Skip
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		w := newWorkload(app, 1, 10)
		for _, bad := range poison(app) {
			b.Produce(t, w.add(20)...)
			b.Produce(t, bad.record)
		}
		b.Produce(t, w.add(20)...)
		w.await(t, b, 30*time.Second)
		if got := len(b.ReadAll(t, app+"-dead-letters", true)); got != 0 {
			t.Errorf("%d dead letters", got)
		}
		stop()
	})
}

// TestStop ends the processor at the poisoned record. What came before it has had its effect, what comes after it has not; a
// restart ends there again, and goes on once the policy is another.
func TestStop(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		c.OnError = processors.Stop
		if err := processors.EnsureTopics(t.Context(), mustLedger(t, app), c); err != nil {
			t.Fatal(err)
		}
		w := newWorkload(app, 1, 1) // one key: everything is in one partition
		b.Produce(t, w.add(40)...)
		b.Produce(t, &kgo.Record{Topic: app + "-commands", Key: []byte("account-0"), Value: []byte("poison")})
		for range 2 {
			p, err := processors.New(mustLedger(t, app), c)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			err = p.Run(ctx)
			if cancel(); err == nil || !strings.Contains(err.Error(), "offset 40") {
				t.Fatalf("the processor ended with %v, want the poisoned record named", err)
			}
			if last := p.Status().Groups[0].LastError; last == nil {
				t.Error("the status tells of no error")
			}
			w.await(t, b, 10*time.Second)
		}
		b.Produce(t, w.add(40)...)
		c.OnError = processors.DeadLetter
		again(t, b, c, w, 10)
		if got := len(b.ReadAll(t, app+"-dead-letters", true)); got != 1 {
			t.Errorf("%d dead letters, want 1", got)
		}
	})
}

// TestPoisonDuringRebalances: the poisoned records are written once each while instances come and go.
func TestPoisonDuringRebalances(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app := b.Name(t)
		w := newWorkload(app, 1, 40)
		built := mustLedger(t, app)
		start := func(name string) (stop func()) {
			c := config(t, b)
			c.InstanceID = name
			p, err := processors.New(built, c)
			if err != nil {
				t.Fatal(err)
			}
			end := run(t, p)
			return func() {
				end()
				if err := processors.RemoveInstance(t.Context(), built, c, name); err != nil {
					t.Error(err)
				}
			}
		}
		stopOne := start("one")
		poisoned := 0
		mix := func() {
			b.Produce(t, w.add(100)...)
			for i := range 8 {
				b.Produce(t, &kgo.Record{Topic: app + "-commands", Key: fmt.Appendf(nil, "account-%d", i), Value: fmt.Appendf(nil, "poison %d", poisoned)})
				poisoned++
			}
		}
		mix()
		for range 2 {
			stopTwo := start("two")
			mix()
			stopTwo()
			mix()
		}
		w.await(t, b, 30*time.Second)
		seen := map[string]int{}
		for deadline := time.Now().Add(10 * time.Second); len(seen) < poisoned && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			clear(seen)
			for _, letter := range b.ReadAll(t, app+"-dead-letters", true) {
				seen[string(letter.Value)]++
			}
		}
		for i := range poisoned {
			if n := seen[fmt.Sprintf("poison %d", i)]; n != 1 {
				t.Errorf("%d dead letters of poison %d", n, i)
			}
		}
		stopOne()
	})
}

// TestTooLarge: what the log would refuse does not hold its partition up. An outcome that is too large makes a dead letter, and
// so does a record that leaves no room for what a dead letter says; then that names where the bytes are.
func TestTooLarge(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app, c := b.Name(t), config(t, b)
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		w := newWorkload(app, 1, 3)
		b.Produce(t, w.add(20)...)
		b.Produce(t, &kgo.Record{Topic: app + "-commands", Key: []byte("account-0"), Value: fmt.Appendf(nil, `{"id":"%s","add":1}`, strings.Repeat("x", 600_000))})
		b.Produce(t, w.add(20)...)
		b.Produce(t, &kgo.Record{Topic: app + "-commands", Key: []byte("account-0"), Value: bytes.Repeat([]byte("y"), 999_800)})
		b.Produce(t, w.add(20)...)
		w.await(t, b, 30*time.Second)
		stop()
		letters := b.ReadAll(t, app+"-dead-letters", true)
		if len(letters) != 2 {
			t.Fatalf("%d dead letters, want 2", len(letters))
		}
		for i, want := range []struct {
			size int
			text string
		}{{600_017, "too large"}, {0, "999800 bytes are too many"}} {
			text := ""
			for _, header := range letters[i].Headers {
				if header.Key == meta.DeadError {
					text = string(header.Value)
				}
			}
			if len(letters[i].Value) != want.size || !strings.Contains(text, want.text) {
				t.Errorf("dead letter %d has %d bytes and says %q; want %d and %q", i, len(letters[i].Value), text, want.size, want.text)
			}
		}
	})
}

// TestConfigReportsEverything that is wrong, at once.
func TestConfigReportsEverything(t *testing.T) {
	_, err := processors.New(mustLedger(t, "ledger"), processors.Config{
		Guarantee: "maybe", OnError: "cry", InstanceID: "one two", Partitions: -1, BufferBytes: 1, CommitInterval: -time.Second,
		SessionTimeout: time.Millisecond, HeartbeatInterval: time.Hour, RebalanceTimeout: time.Nanosecond, CommitTimeout: -1,
	})
	if !errors.Is(err, processors.ErrConfig) {
		t.Fatalf("New returned %v, want ErrConfig", err)
	}
	for _, text := range []string{
		"brokers: none given", "state directory", `guarantee: "maybe"`, `on error: "cry"`, `contains ' '`, "partitions: -1", "buffer: 1 bytes",
		"commit interval", "session time-out: 1ms", "heartbeat interval", "rebalance time-out", "commit time-out",
	} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}
