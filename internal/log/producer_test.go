package log_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTransactionCommitsRecordsAndOffsets(t *testing.T) {
	kafkatest.Each(t, commitsRecordsAndOffsets)
}

// A cluster without KIP-890 takes the same calls.
func TestOlderTransactions(t *testing.T) {
	p := kafkatest.RealOwn(t, kafkatest.Options{Features: map[string]int{"transaction.version": 0}})
	if level, _, err := admin(t, p.Broker).FinalizedFeature(t.Context(), "transaction.version"); level != 0 || err != nil {
		t.Fatalf("transaction.version %d, %v", level, err)
	}
	t.Run("commit", func(t *testing.T) { commitsRecordsAndOffsets(t, p.Broker) })
	t.Run("alternate", func(t *testing.T) { alternates(t, p.Broker) })
	t.Run("fence", func(t *testing.T) { fencesAndAborts(t, p.Broker) })
}

func commitsRecordsAndOffsets(t *testing.T, b kafkatest.Broker) {
	in, out, group := b.Name(t)+"-in", b.Name(t)+"-out", b.Name(t)
	b.CreateTopic(t, in, 2, nil)
	b.CreateTopic(t, out, 3, nil)
	b.Produce(t, records(in, 10)...)
	m, _ := member(t, b, group, "one", in)
	p := producer(t, b, b.Name(t))
	a := admin(t, b)
	for i := range 5 {
		ok(t, p.Begin())
		for _, r := range records(out, 4) {
			ok(t, p.Produce(r))
		}
		ok(t, p.ProduceTo(&kgo.Record{Topic: out, Key: []byte("chosen")}, 2))
		ok(t, p.Flush(t.Context()))
		at := log.Positions{in: {0: {Offset: int64(i), LeaderEpoch: -1, Metadata: "seq"}, 1: {Offset: 2, LeaderEpoch: -1}}}
		ok(t, p.CommitOffsets(t.Context(), m, at))
		if got := b.ReadAll(t, out, true); len(got) != 5*i {
			t.Errorf("%d records visible before the commit, want %d", len(got), 5*i)
		}
		if o := must(p.End(t.Context(), true))(t); o != log.Committed {
			t.Errorf("outcome %s", o)
		}
		got := must(a.CommittedOffsets(t.Context(), group, true, in))(t)
		if got[in][0].Offset != int64(i) || got[in][0].Metadata != "seq" || got[in][1].Offset != 2 {
			t.Errorf("committed offsets %v after transaction %d", got, i)
		}
	}
	eventually(t, "all records", func() bool { return len(b.ReadAll(t, out, true)) == 25 })
	for _, r := range b.ReadAll(t, out, true) {
		want := partition.ForKey(r.Key, 3)
		if string(r.Key) == "chosen" {
			want = 2
		}
		if r.Partition != want {
			t.Errorf("key %s is in partition %d, want %d", r.Key, r.Partition, want)
		}
	}
}

// Two ids take turns, with transactions that carry records, only offsets, both
// or nothing, committed and aborted.
func TestAlternatingProducersOfEveryKind(t *testing.T) { kafkatest.Each(t, alternates) }

func alternates(t *testing.T, b kafkatest.Broker) {
	in, out, group := b.Name(t)+"-in", b.Name(t)+"-out", b.Name(t)
	b.CreateTopic(t, in, 1, nil)
	b.CreateTopic(t, out, 2, nil)
	m, _ := member(t, b, group, "", in)
	id := b.Name(t)
	turns := []*log.TxnProducer{producer(t, b, id+"-0"), producer(t, b, id+"-1")}
	a := admin(t, b)
	want, at := 0, int64(-1)
	for i := range 48 {
		p := turns[i%2]
		withRecords, withOffsets, commit := i/2%2 == 0, i/4%2 == 0, i/8%3 != 2
		ok(t, p.Begin())
		if withRecords {
			for _, r := range records(out, 3) {
				ok(t, p.Produce(r))
			}
		}
		if withOffsets {
			ok(t, p.CommitOffsets(t.Context(), m, log.Positions{in: {0: {Offset: int64(i), LeaderEpoch: -1}}}))
		}
		outcome := must(p.End(t.Context(), commit))(t)
		if commit != (outcome == log.Committed) || outcome == log.Unknown {
			t.Fatalf("transaction %d: outcome %s, commit %v", i, outcome, commit)
		}
		if commit && withRecords {
			want += 3
		}
		if commit && withOffsets {
			at = int64(i)
		}
		if at >= 0 {
			if got := must(a.CommittedOffsets(t.Context(), group, true, in))(t)[in][0].Offset; got != at {
				t.Fatalf("after transaction %d the group is at %d, want %d", i, got, at)
			}
		}
	}
	eventually(t, "the last markers", func() bool { return len(b.ReadAll(t, out, true)) >= want })
	if got := len(b.ReadAll(t, out, true)); got != want {
		t.Errorf("%d committed records, want %d", got, want)
	}
	if open := must(a.OpenTransactions(t.Context(), id))(t); len(open) > 0 {
		t.Errorf("open transactions: %v", open)
	}
}

func TestInitFencesAndAborts(t *testing.T) { kafkatest.Each(t, fencesAndAborts) }

func fencesAndAborts(t *testing.T, b kafkatest.Broker) {
	in, topic, id, group := b.Name(t)+"-in", b.Name(t), b.Name(t), b.Name(t)
	b.CreateTopic(t, in, 1, nil)
	b.CreateTopic(t, topic, 1, nil)
	m, _ := member(t, b, group, "", in)
	at := log.Positions{in: {0: {Offset: 7, LeaderEpoch: -1}}}
	for name, finish := range map[string]func(p *log.TxnProducer) error{
		"records": func(p *log.TxnProducer) error {
			ok(t, p.Produce(&kgo.Record{Topic: topic, Value: []byte("late")}))
			return p.Flush(t.Context())
		},
		"offsets": func(p *log.TxnProducer) error { return p.CommitOffsets(t.Context(), m, at) },
		"end": func(p *log.TxnProducer) error {
			o, err := p.End(t.Context(), true)
			if err != nil && o == log.Committed {
				t.Errorf("outcome %s with error %v", o, err)
			}
			return err
		},
	} {
		old := producer(t, b, id+name)
		ok(t, old.Begin())
		ok(t, old.Produce(&kgo.Record{Topic: topic, Value: []byte("zombie")}))
		ok(t, old.Flush(t.Context()))
		ok(t, old.CommitOffsets(t.Context(), m, at))
		next := producer(t, b, id+name)
		if err := finish(old); !errors.Is(err, log.ErrProducerFenced) {
			t.Errorf("%s: error of the fenced producer is %v, want ErrProducerFenced", name, err)
		}
		ok(t, next.Begin())
		ok(t, next.Produce(&kgo.Record{Topic: topic, Value: []byte(name)}))
		must(next.End(t.Context(), true))(t)
		if err := old.Begin(); err == nil {
			t.Errorf("%s: the fenced producer began again", name)
		}
	}
	eventually(t, "the new producers' records", func() bool { return len(b.ReadAll(t, topic, true)) >= 3 })
	for _, r := range b.ReadAll(t, topic, true) {
		if v := string(r.Value); v == "zombie" || v == "late" {
			t.Errorf("a fenced producer's %s record is visible", v)
		}
	}
	if got := must(admin(t, b).CommittedOffsets(t.Context(), group, true, in))(t); len(got) != 0 {
		t.Errorf("a fenced producer's offsets are visible: %v", got)
	}
}

func TestMemberIsFenced(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		in, group := b.Name(t), b.Name(t)
		b.CreateTopic(t, in, 1, nil)
		m, _ := member(t, b, group, "inst", in)
		p := producer(t, b, b.Name(t))
		at := log.Positions{in: {0: {Offset: 1, LeaderEpoch: -1}}}
		for name, c := range map[string]struct {
			change func(*log.Member)
			want   error
		}{
			"old generation": {func(m *log.Member) { m.Generation-- }, log.ErrMemberFenced},
			"unknown member": {func(m *log.Member) { m.MemberID, m.InstanceID = "nobody", "" }, log.ErrMemberFenced},
			"other instance": {func(m *log.Member) { m.MemberID = "nobody" }, log.ErrInstanceFenced},
		} {
			wrong := m
			c.change(&wrong)
			ok(t, p.Begin())
			if err := p.CommitOffsets(t.Context(), wrong, at); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			if o, err := p.End(t.Context(), true); err == nil || o != log.Aborted {
				t.Errorf("%s: outcome %s, %v; want aborted with an error", name, o, err)
			}
			ok(t, p.Reinit(t.Context()))
		}
		ok(t, p.Begin())
		ok(t, p.CommitOffsets(t.Context(), m, at))
		must(p.End(t.Context(), true))(t)
		if got := must(admin(t, b).CommittedOffsets(t.Context(), group, true, in))(t)[in][0].Offset; got != 1 {
			t.Errorf("the real member's offset is %d, want 1", got)
		}
	})
}

func TestFailedRecordAbortsTheTransaction(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		topic := b.Name(t)
		b.CreateTopic(t, topic, 1, nil)
		p := producer(t, b, b.Name(t))
		ok(t, p.Begin())
		ok(t, p.Produce(&kgo.Record{Topic: topic, Value: []byte("good")}))
		ok(t, p.ProduceTo(&kgo.Record{Topic: topic, Value: []byte("bad")}, 9))
		if err := p.Flush(t.Context()); err == nil {
			t.Error("a record for partition 9 of 1 was accepted")
		}
		if o, err := p.End(t.Context(), true); err == nil || o != log.Aborted {
			t.Errorf("outcome %s, %v; want aborted with an error", o, err)
		}
		ok(t, p.Begin()) // End has initialised it again
		ok(t, p.Produce(&kgo.Record{Topic: topic, Value: []byte("next")}))
		must(p.End(t.Context(), true))(t)
		eventually(t, "the next record", func() bool { return len(b.ReadAll(t, topic, true)) > 0 })
		if got := b.ReadAll(t, topic, true); len(got) != 1 || string(got[0].Value) != "next" {
			t.Errorf("visible: %v", got)
		}
	})
}

func TestMisuse(t *testing.T) {
	b := kafkatest.Embedded(t)
	for _, f := range []func() (*log.TxnProducer, error){
		func() (*log.TxnProducer, error) { return log.NewTxnProducer(log.Config{}, "id", time.Second) },
		func() (*log.TxnProducer, error) { return log.NewTxnProducer(config(b), "", time.Second) },
		func() (*log.TxnProducer, error) { return log.NewTxnProducer(config(b), "id", 0) },
	} {
		if _, err := f(); !errors.Is(err, log.ErrConfig) {
			t.Errorf("%v, want ErrConfig", err)
		}
	}
	p := must(log.NewTxnProducer(config(b), "id", time.Second))(t)
	defer p.Close()
	if err := p.Begin(); !errors.Is(err, log.ErrNotReady) {
		t.Errorf("Begin before Init: %v", err)
	}
	ok(t, p.Init(t.Context()))
	_, ended := p.End(t.Context(), true)
	for _, err := range []error{p.Produce(&kgo.Record{}), p.Flush(t.Context()), p.CommitOffsets(t.Context(), log.Member{}, nil), ended} {
		if !errors.Is(err, log.ErrNotInTransaction) {
			t.Errorf("outside of a transaction: %v", err)
		}
	}
	ok(t, p.Begin())
	if err := p.Begin(); err == nil {
		t.Error("a second Begin was accepted")
	}
	late := must(log.NewTxnProducer(config(b), "id", time.Hour))(t)
	defer late.Close()
	if err := late.Init(t.Context()); err == nil {
		t.Error("a transaction time-out of an hour was accepted")
	}
}

func TestAbortTransactionsByPrefix(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		topic, prefix := b.Name(t), b.Name(t)
		b.CreateTopic(t, topic, 2, nil)
		a := admin(t, b)
		ids := []string{prefix + "-a", prefix + "-b", prefix + "-c"}
		for _, id := range ids[:2] {
			p := producer(t, b, id)
			ok(t, p.Begin())
			for _, r := range records(topic, 8) {
				ok(t, p.Produce(r))
			}
			ok(t, p.Flush(t.Context()))
		}
		producer(t, b, ids[2]) // initialised, without a transaction
		if got := must(a.OpenTransactions(t.Context(), prefix))(t); !slices.Equal(got, ids[:2]) {
			t.Fatalf("open: %v, want %v", got, ids[:2])
		}
		described := must(a.DescribeTransactions(t.Context(), ids[0], ids[2], "no-such-"+prefix))(t)
		if len(described) != 2 || !described[0].Open() || described[1].Open() || described[0].Timeout != 20*time.Second ||
			len(described[0].Partitions[topic]) != 2 || time.Since(described[0].Started) > time.Minute {
			t.Errorf("described: %+v", described)
		}
		if stable := must(a.StableOffsets(t.Context(), topic))(t); stable[topic][0] != 0 || stable[topic][1] != 0 {
			t.Errorf("last stable offsets with open transactions: %v", stable)
		}
		ok(t, a.AbortTransactions(t.Context(), ids...))
		if got := must(a.OpenTransactions(t.Context(), prefix))(t); len(got) != 0 {
			t.Errorf("still open: %v", got)
		}
		stable, end := must(a.StableOffsets(t.Context(), topic))(t), must(a.EndOffsets(t.Context(), topic))(t)
		if stable[topic][0] != end[topic][0] || stable[topic][1] != end[topic][1] || end[topic][0] == 0 {
			t.Errorf("stable %v, end %v", stable, end)
		}
		if got := b.ReadAll(t, topic, true); len(got) != 0 {
			t.Errorf("%d aborted records are visible", len(got))
		}
	})
}
