package log_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEnsureTopic(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, name := admin(t, b), b.Name(t)
		spec := log.TopicSpec{Name: name, Partitions: 3, Replication: 1, Config: map[string]string{
			"cleanup.policy": "compact,delete", "retention.ms": "-1", "delete.retention.ms": "604800000", "min.cleanable.dirty.ratio": "0.10",
		}}
		if _, err := a.CheckTopic(t.Context(), spec); !errors.Is(err, log.ErrTopicMissing) || !strings.Contains(err.Error(), "kafka-topics.sh --bootstrap-server "+b.Addr()+" --create --topic "+name) {
			t.Errorf("missing topic: %v", err)
		}
		if _, err := a.Describe(t.Context(), name); !errors.Is(err, log.ErrTopicMissing) {
			t.Errorf("describing a missing topic: %v", err)
		}
		made := must(a.EnsureTopic(t.Context(), spec))(t)
		if made.Partitions != 3 || made.ID == ([16]byte{}) || made.Replication != 1 || made.Config["retention.ms"] != "-1" {
			t.Errorf("made %+v", made)
		}
		spec.Config["cleanup.policy"] = "delete, compact" // the same in another order
		again := must(a.EnsureTopic(t.Context(), spec))(t)
		if again.ID != made.ID {
			t.Errorf("topic id %x, then %x", made.ID, again.ID)
		}
		spec.Partitions = 0
		must(a.CheckTopic(t.Context(), spec))(t)
		if names := must(a.Topics(t.Context()))(t); !slices.Contains(names, name) || !slices.IsSorted(names) || slices.Contains(names, "__consumer_offsets") {
			t.Errorf("topics: %v", names)
		}
		ok(t, a.DeleteTopics(t.Context(), name, "missing-"+name))
		made2 := must(a.EnsureTopic(t.Context(), spec))(t)
		if made2.ID == made.ID {
			t.Error("a recreated topic has the same id")
		}
	})
}

func TestWrongTopicNamesTheFix(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, name := admin(t, b), b.Name(t)
		b.CreateTopic(t, name, 2, map[string]string{"cleanup.policy": "delete", "retention.ms": "1000"})
		_, err := a.EnsureTopic(t.Context(), log.TopicSpec{Name: name, Partitions: 4, Config: map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "-1"}})
		if !errors.Is(err, log.ErrPartitionMismatch) || !errors.Is(err, log.ErrTopicConfig) {
			t.Fatalf("%v, want both mismatches", err)
		}
		for _, want := range []string{
			fmt.Sprintf("topic %s has 2 partitions, 4 are wanted", name),
			"--delete --topic " + name,
			"has cleanup.policy=delete,retention.ms=1000, wanted is",
			fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config 'cleanup.policy=[compact,delete],retention.ms=-1'", b.Addr(), name),
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in:\n%v", want, err)
			}
		}
	})
}

func TestEnsureTopicFromManyAtOnce(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, name := admin(t, b), b.Name(t)
		results := make(chan error, 8)
		for range cap(results) {
			go func() {
				_, err := a.EnsureTopic(t.Context(), log.TopicSpec{Name: name, Partitions: 4})
				results <- err
			}()
		}
		for range cap(results) {
			ok(t, <-results)
		}
	})
}

func TestOffsets(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, name := admin(t, b), b.Name(t)
		b.CreateTopic(t, name, 2, nil)
		base := time.UnixMilli(1_700_000_000_000)
		for i := range 10 {
			b.ProduceTo(t, &kgo.Record{Topic: name, Partition: 0, Value: []byte("v"), Timestamp: base.Add(time.Duration(i) * time.Second)})
		}
		check := func(what string, got log.Offsets, want0, want1 int64) {
			t.Helper()
			if len(got[name]) != 2 || got[name][0] != want0 || got[name][1] != want1 {
				t.Errorf("%s: %v, want %d and %d", what, got, want0, want1)
			}
		}
		check("end", must(a.EndOffsets(t.Context(), name))(t), 10, 0)
		check("stable", must(a.StableOffsets(t.Context(), name))(t), 10, 0)
		check("start", must(a.StartOffsets(t.Context(), name))(t), 0, 0)
		check("at 3.5 s", must(a.OffsetsAt(t.Context(), base.Add(3500*time.Millisecond), name))(t), 4, 0)
		check("at 4 s", must(a.OffsetsAt(t.Context(), base.Add(4*time.Second), name))(t), 4, 0)
		check("later", must(a.OffsetsAt(t.Context(), base.Add(time.Hour), name))(t), 10, 0)
		ok(t, a.DeleteRecords(t.Context(), log.Offsets{name: {0: 6}}))
		check("start after deletion", must(a.StartOffsets(t.Context(), name))(t), 6, 0)
		if err := a.DeleteRecords(t.Context(), log.Offsets{name: {0: 11}}); err == nil {
			t.Error("records above the end were deleted")
		}
		if _, err := a.EndOffsets(t.Context(), "missing-"+name); !errors.Is(err, log.ErrTopicMissing) {
			t.Errorf("%v, want ErrTopicMissing", err)
		}

		p := producer(t, b, b.Name(t))
		ok(t, p.Begin())
		ok(t, p.ProduceTo(&kgo.Record{Topic: name, Value: []byte("open")}, 1))
		ok(t, p.Flush(t.Context()))
		check("end with an open transaction", must(a.EndOffsets(t.Context(), name))(t), 10, 1)
		check("stable with an open transaction", must(a.StableOffsets(t.Context(), name))(t), 10, 0)
		must(p.End(t.Context(), true))(t)
		eventually(t, "the marker", func() bool { return must(a.StableOffsets(t.Context(), name))(t)[name][1] == 2 })
	})
}

func TestStableOffsetsOfAGroupWaitForTheTransaction(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, in, group := admin(t, b), b.Name(t), b.Name(t)
		b.CreateTopic(t, in, 2, nil)
		m, _ := member(t, b, group, "", in)
		p := producer(t, b, b.Name(t))
		for i := int64(1); i < 4; i++ { // the first commit of all, and later ones
			ok(t, p.Begin())
			ok(t, p.CommitOffsets(t.Context(), m, log.Positions{in: {0: {Offset: i, LeaderEpoch: -1}}}))
			if got := must(a.CommittedOffsets(t.Context(), group, false))(t)[in][0].Offset; got != i-1 {
				t.Errorf("before the commit: %d, want %d", got, i-1)
			}
			stable := make(chan log.Positions)
			go func() { stable <- must(a.CommittedOffsets(t.Context(), group, true, in))(t) }()
			select {
			case got := <-stable:
				t.Fatalf("stable offsets %v although the transaction is open", got)
			case <-time.After(150 * time.Millisecond):
			}
			must(p.End(t.Context(), true))(t)
			if got := (<-stable)[in][0].Offset; got != i {
				t.Errorf("stable offset %d, want %d", got, i)
			}
		}
		if _, err := a.CommittedOffsets(t.Context(), group, true); err == nil {
			t.Error("stable offsets without topics were given")
		}
	})
}

func TestStaticMemberIsRemoved(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		a, in, group := admin(t, b), b.Name(t), b.Name(t)
		b.CreateTopic(t, in, 2, nil)
		m, cl := member(t, b, group, "inst-1", in)
		to := log.Positions{in: {0: {Offset: 5, LeaderEpoch: -1, Metadata: "m"}, 1: {Offset: 0, LeaderEpoch: -1}}}
		if err := a.AlterOffsets(t.Context(), group, to); !errors.Is(err, log.ErrGroupActive) {
			t.Errorf("offsets of an active group: %v, want ErrGroupActive", err)
		}
		if err := a.DeleteGroup(t.Context(), group); !errors.Is(err, log.ErrGroupActive) {
			t.Errorf("deleting an active group: %v, want ErrGroupActive", err)
		}
		cl.CloseAllowingRebalance() // a static member does not leave by itself
		if err := a.AlterOffsets(t.Context(), group, to); !errors.Is(err, log.ErrGroupActive) {
			t.Errorf("offsets with the static member gone but not removed: %v, want ErrGroupActive", err)
		}
		ok(t, a.RemoveStaticMember(t.Context(), group, "inst-1", ""))
		ok(t, a.RemoveStaticMember(t.Context(), group, "inst-1", ""))
		ok(t, a.AlterOffsets(t.Context(), group, to))
		got := must(a.CommittedOffsets(t.Context(), group, true, in))(t)
		if got[in][0] != (log.Position{Offset: 5, LeaderEpoch: -1, Metadata: "m"}) || len(got[in]) != 2 {
			t.Errorf("offsets %v", got)
		}
		p := producer(t, b, b.Name(t))
		ok(t, p.Begin())
		if err := p.CommitOffsets(t.Context(), m, to); !errors.Is(err, log.ErrMemberFenced) {
			t.Errorf("offsets by the removed member: %v, want ErrMemberFenced", err)
		}
		must(p.End(t.Context(), false))(t)
		ok(t, a.DeleteGroup(t.Context(), group))
		ok(t, a.DeleteGroup(t.Context(), group))
		if got := must(a.CommittedOffsets(t.Context(), group, true, in))(t); len(got) != 0 {
			t.Errorf("offsets of a deleted group: %v", got)
		}
	})
}

func TestFinalizedFeature(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		level, ok, err := admin(t, b).FinalizedFeature(t.Context(), "transaction.version")
		if err != nil || !ok || level != 2 {
			t.Errorf("transaction.version %d, %v, %v; want 2", level, ok, err)
		}
		if _, ok, err := admin(t, b).FinalizedFeature(t.Context(), "no.such.feature"); ok || err != nil {
			t.Errorf("no.such.feature: %v, %v", ok, err)
		}
	})
}
