package log_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker that stands still: every call returns within its time, a full buffer
// does not hold up the caller for ever, and afterwards the work goes on.
func TestBrokerStandsStill(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, b *kafkatest.Process) {
		topic := b.Name(t)
		b.CreateTopic(t, topic, 1, nil)
		c := config(b.Broker)
		c.RequestTimeout = 2 * time.Second
		p := must(log.NewTxnProducer(c, b.Name(t), 2*time.Second))(t)
		defer p.Close()
		// A broker that has just started may take longer than the short time-out for the first requests.
		eventually(t, "the first record", func() bool {
			return p.Reinit(t.Context()) == nil && p.Begin() == nil &&
				p.Produce(&kgo.Record{Topic: topic, Value: []byte("early")}) == nil && p.Flush(t.Context()) == nil
		})
		b.Pause(t)
		began := time.Now()
		for i := range 30_000 { // more than the buffer holds
			// Message time is long past, which must not matter.
			ok(t, p.Produce(&kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i), Timestamp: time.UnixMilli(1)}))
		}
		if err := p.Flush(t.Context()); err == nil {
			t.Error("a broker that stands still has acknowledged")
		}
		outcome, err := p.End(t.Context(), true)
		if err == nil || outcome != log.Aborted {
			t.Errorf("outcome %s, %v; want aborted with an error", outcome, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		if err := p.Begin(); err == nil {
			t.Error("a transaction began although the last one could not be aborted")
		}
		b.Continue(t)
		committed := commitAfter(t, p, topic)
		eventually(t, "the record", func() bool { return len(b.ReadAll(t, topic, true)) > 0 })
		for i, r := range b.ReadAll(t, topic, true) {
			if !committed[string(r.Value)] {
				t.Fatalf("record %d, %q, is visible; only %v were committed", i, r.Value, committed)
			}
		}
	})
}

// commitAfter commits one record as soon as the broker lets it, and returns what may be visible then: a busy broker's answer
// to a commit may be missing.
func commitAfter(t *testing.T, p *log.TxnProducer, topic string) map[string]bool {
	t.Helper()
	committed := map[string]bool{}
	attempt := 0
	eventually(t, "a commit", func() bool {
		attempt++
		value := fmt.Sprint("after ", attempt)
		if p.Reinit(t.Context()) != nil || p.Begin() != nil {
			return false
		}
		ok(t, p.Produce(&kgo.Record{Topic: topic, Value: []byte(value), Timestamp: time.UnixMilli(1)}))
		outcome, _ := p.End(t.Context(), true)
		committed[value] = outcome != log.Aborted
		return outcome == log.Committed
	})
	return committed
}

// A broker killed while commits are on their way: the outcome is never wrong.
func TestBrokerIsKilledDuringCommits(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, b *kafkatest.Process) {
		topic, group := b.Name(t), b.Name(t)
		b.CreateTopic(t, topic, 2, nil)
		c := config(b.Broker)
		c.RequestTimeout = 2 * time.Second
		p := must(log.NewTxnProducer(c, b.Name(t), 10*time.Second))(t)
		defer p.Close()
		// A broker that has just started may still be loading its coordinator for longer than the short time-out.
		eventually(t, "the transaction coordinator", func() bool { return p.Init(t.Context()) == nil })
		a := must(log.NewAdmin(c))(t)
		defer a.Close()
		m := log.Member{Group: group, Generation: -1}
		done := int64(0)
		step := func() (log.Outcome, error) { return commitNumber(t, p, m, topic, done+1) }
		for range 2 {
			killed := make(chan struct{})
			go func() {
				time.Sleep(200 * time.Millisecond)
				b.Kill9(t)
				b.Start(t)
				close(killed)
			}()
			for alive := true; alive; {
				select {
				case <-killed:
					alive = false
				default:
				}
				outcome, err := step()
				if err == nil {
					done++
					continue
				}
				at := decide(t, p, a, group, topic)
				if at != done && (at != done+1 || outcome == log.Aborted) {
					t.Fatalf("transaction %d was %s, and then the group is at %d", done+1, outcome, at)
				}
				done = at
			}
		}
		eventually(t, "the last markers", func() bool { return b.End(t, topic, 1, true) == b.End(t, topic, 1, false) })
		seen := map[int32]int64{}
		for _, r := range b.ReadAll(t, topic, true) {
			if seen[r.Partition]++; string(r.Value) != fmt.Sprint(seen[r.Partition]) {
				t.Fatalf("partition %d has %s in place of %d", r.Partition, r.Value, seen[r.Partition])
			}
		}
		if seen[0] != done || seen[1] != done || done == 0 {
			t.Errorf("%v transactions are visible, %d were committed", seen, done)
		}
	})
}

// commitNumber writes a number to both partitions and commits it as the group's
// offset.
func commitNumber(t *testing.T, p *log.TxnProducer, m log.Member, topic string, number int64) (log.Outcome, error) {
	t.Helper()
	if err := p.Begin(); err != nil {
		return log.Aborted, err
	}
	for q := range int32(2) {
		ok(t, p.ProduceTo(&kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", number)}, q))
	}
	err := p.Flush(t.Context())
	if err == nil {
		err = p.CommitOffsets(t.Context(), m, log.Positions{topic: {0: {Offset: number, LeaderEpoch: -1}}})
	}
	outcome, ending := p.End(t.Context(), err == nil)
	return outcome, errors.Join(err, ending)
}

// decide initialises the producer again and returns where the group then is.
func decide(t *testing.T, p *log.TxnProducer, a *log.Admin, group, topic string) int64 {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		err := p.Reinit(t.Context())
		if err == nil {
			var found log.Positions
			if found, err = a.CommittedOffsets(t.Context(), group, true, topic); err == nil {
				return found[topic][0].Offset
			}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
