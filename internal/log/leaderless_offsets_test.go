package log_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

// The partition of a group's offsets has no leader while a transaction with offsets ends: the marker is left out there too, and
// the offsets stay unstable for ever, since no coordinator knows of it (finding 15 of docs/reliability.md). That is shown first, of a
// producer that is gone; then that the next Init of the id, and the watch after a commit, mend it the way it was meant.
func TestOffsetsWithoutLeader(t *testing.T) {
	b, far, c, a := besideCoordinator(t)
	createOn(t, b, "__consumer_offsets", 4, 2) // all groups' coordinator is the other broker; brokers count on as many partitions
	input := b.Name(t)
	createOn(t, b, input, 1, 1)
	for _, test := range []struct {
		name   string
		commit bool // how the transaction ends, in which the group goes on from 1 to 2
		watch  bool // the producer lives on, and nobody else comes
	}{
		{"abort", false, false},
		{"commit, then the next process", true, false},
		{"commit, and nothing after it", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			group := b.Name(t)
			m := log.Member{Group: group, Generation: -1}
			p := must(log.NewTxnProducer(c, b.Name(t), time.Minute))(t)
			defer func() { p.Close() }()
			at := func(offset int64) log.Positions {
				return log.Positions{input: {0: {Offset: offset, LeaderEpoch: -1, Metadata: fmt.Sprint(offset)}}}
			}
			firstCommit(t, p, m, at(1))
			ok(t, p.Begin()) // and with it the first one's watch is over
			ok(t, p.Produce(&kgo.Record{Topic: input, Value: []byte("with the offsets")}))
			ok(t, p.Flush(t.Context()))
			ok(t, p.CommitOffsets(t.Context(), m, at(2)))
			far.Pause(t)
			t.Cleanup(func() { far.Continue(t) })
			eventually(t, "the offsets' partition to lose its leader", func() bool { return leader(t, b, "__consumer_offsets") < 0 })
			state := "CompleteCommit"
			if test.commit {
				if outcome, err := p.End(t.Context(), true); outcome != log.Committed {
					t.Fatalf("%s, %v", outcome, err)
				}
			} else {
				p.Close()
				ok(t, a.AbortTransactions(t.Context(), p.ID())) // as another process with the id would, and no more
				state = "Empty"
			}
			if !test.watch {
				p.Close()
			}
			awaitState(t, a, p.ID(), state)
			far.Continue(t)
			eventually(t, "the partition to have a leader", func() bool { return leader(t, b, "__consumer_offsets") == 2 })
			want := int64(1)
			if test.commit {
				want = 2
			}
			if !test.watch {
				staysUnstable(t, b, group, input)
				p = must(log.NewTxnProducer(c, p.ID(), time.Minute))(t)
				p.Covers(group, input)
				eventually(t, "the next process", func() bool { return p.Init(t.Context()) == nil })
			}
			eventually(t, "stable offsets", func() bool {
				found, err := a.CommittedOffsets(t.Context(), group, true, input)
				if err != nil {
					return false
				}
				if got := found[input][0].Offset; got != want {
					t.Fatalf("the group is at %d, want %d", got, want)
				}
				return true
			})
		})
	}
}

// firstCommit commits positions as soon as the group's coordinator is there.
func firstCommit(t *testing.T, p *log.TxnProducer, m log.Member, to log.Positions) {
	t.Helper()
	last := error(nil)
	defer func() {
		if t.Failed() {
			t.Logf("the last error: %v", last)
		}
	}()
	eventually(t, "a first commit", func() bool {
		if last = p.Reinit(t.Context()); last != nil {
			return false
		}
		ok(t, p.Begin())
		if last = p.CommitOffsets(t.Context(), m, to); last != nil {
			return false
		}
		_, last = p.End(t.Context(), true)
		return last == nil
	})
}

// staysUnstable makes sure that a group's offset is held by a transaction, for as long as Kafka would need to end one by itself.
func staysUnstable(t *testing.T, b *kafkatest.Process, group, topic string) {
	t.Helper()
	cl := b.Client(t)
	defer cl.Close()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = topic, []int32{0}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	code := func() int16 {
		resp, err := req.RequestWith(t.Context(), cl)
		if err != nil || len(resp.Groups) != 1 || len(resp.Groups[0].Topics) != 1 {
			return -1
		}
		return resp.Groups[0].Topics[0].Partitions[0].ErrorCode
	}
	unstable := kerr.UnstableOffsetCommit.Code
	eventually(t, "the group's coordinator", func() bool { got := code(); return got == unstable || got == 0 })
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if got := code(); got != unstable {
			t.Fatalf("error code %d, want UNSTABLE_OFFSET_COMMIT (%d): no marker was left out", got, unstable)
		}
	}
}
