package log_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

// besideCoordinator returns two brokers, of which the first one is the coordinator of all transactions: what is put on the second
// one can lose its leader. It returns too how to reach them, and who asks them.
func besideCoordinator(t *testing.T) (b, far *kafkatest.Process, c log.Config, a *log.Admin) {
	b = kafkatest.RealOwn(t, kafkatest.Options{Properties: map[string]string{
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
	}})
	c = config(b.Broker)
	c.RequestTimeout = 2 * time.Second
	a = must(log.NewAdmin(c))(t)
	t.Cleanup(a.Close)
	// The first transactional id makes the coordinator's topic, before there is a second broker to have a part in it.
	first := must(log.NewTxnProducer(c, b.Name(t), 2*time.Second))(t)
	t.Cleanup(first.Close)
	eventually(t, "the transaction coordinator", func() bool { return first.Init(t.Context()) == nil })
	return b, b.Beside(t), c, a
}

// A partition has no leader while a transaction ends: Kafka 4.3 then writes no marker to it, and calls the transaction
// complete (KAFKA-20734). What the caller was told must be what becomes of the records, also by the hands of the next
// process, and when the next transaction ends the other way.
func TestPartitionWithoutLeader(t *testing.T) {
	b, far, c, a := besideCoordinator(t)
	for _, test := range []struct {
		name    string
		timeout time.Duration
		end     func(*testing.T, *log.TxnProducer)
		visible bool // whether what was written must be
	}{
		{"time-out", 6 * time.Second, func(t *testing.T, p *log.TxnProducer) { awaitState(t, a, p.ID(), "CompleteAbort") }, false},
		{"abort", time.Minute, func(t *testing.T, p *log.TxnProducer) { _, _ = p.End(t.Context(), false) }, false},
		{"commit", time.Minute, func(t *testing.T, p *log.TxnProducer) {
			if outcome, err := p.End(t.Context(), true); outcome != log.Committed {
				t.Fatalf("%s, %v", outcome, err)
			}
			awaitState(t, a, p.ID(), "CompleteCommit")
		}, true},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", test.name, restart), func(t *testing.T) {
				topic := b.Name(t)
				createOn(t, b, topic, 1, 2)
				p := must(log.NewTxnProducer(c, b.Name(t), test.timeout))(t)
				defer p.Close()
				eventually(t, "a record", func() bool {
					return p.Reinit(t.Context()) == nil && p.Begin() == nil &&
						p.Produce(&kgo.Record{Topic: topic, Value: []byte("early")}) == nil && p.Flush(t.Context()) == nil
				})
				far.Pause(t)
				t.Cleanup(func() { far.Continue(t) })
				eventually(t, "the partition to lose its leader", func() bool { return leader(t, b, topic) < 0 })
				test.end(t, p)
				far.Continue(t)
				eventually(t, "the partition to have a leader", func() bool { return leader(t, b, topic) == 2 })
				if restart {
					p.Close()
					p = must(log.NewTxnProducer(c, p.ID(), test.timeout))(t)
					defer p.Close()
					p.Covers("", topic)
					eventually(t, "the next process", func() bool { return p.Init(t.Context()) == nil })
				}
				want := map[string]bool{}
				if test.visible {
					want["early"] = true
					abortAfter(t, p, topic)
				}
				for value, may := range commitAfter(t, p, topic) {
					want[value] = may
				}
				eventually(t, "the markers", func() bool { return b.End(t, topic, 0, true) == b.End(t, topic, 0, false) })
				seen := map[string]bool{}
				for _, r := range b.ReadAll(t, topic, true) {
					if seen[string(r.Value)] = true; !want[string(r.Value)] {
						t.Errorf("%q is visible", r.Value)
					}
				}
				if test.visible && !seen["early"] {
					t.Error("a committed record is lost")
				}
			})
		}
	}
}

// abortAfter aborts a transaction with a record in it.
func abortAfter(t *testing.T, p *log.TxnProducer, topic string) {
	t.Helper()
	eventually(t, "an abort", func() bool {
		if p.Begin() != nil {
			_ = p.Reinit(t.Context())
			return false
		}
		ok(t, p.Produce(&kgo.Record{Topic: topic, Value: []byte("aborted")}))
		flushed := p.Flush(t.Context())
		_, err := p.End(t.Context(), false)
		return flushed == nil && err == nil
	})
}

func awaitState(t *testing.T, a *log.Admin, id, state string) {
	t.Helper()
	eventually(t, "state "+state, func() bool {
		found, err := a.DescribeTransactions(t.Context(), id)
		return err == nil && len(found) == 1 && found[0].State == state
	})
}

// createOn creates a topic each of whose partitions has its only replica on one broker.
func createOn(t *testing.T, b *kafkatest.Process, topic string, partitions, node int32) {
	t.Helper()
	cl := b.Client(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	for partition := range partitions {
		assignment := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		assignment.Partition, assignment.Replicas = partition, []int32{node}
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, assignment)
	}
	req.Topics = append(req.Topics, rt)
	resp := must(req.RequestWith(t.Context(), cl))(t)
	if resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("creating topic %s: error %d", topic, resp.Topics[0].ErrorCode)
	}
	eventually(t, "the topic's leader", func() bool { return leader(t, b, topic) == node })
}

// leader is the leader of all of a topic's partitions, as the first broker knows it; -1 where they have none.
func leader(t *testing.T, b *kafkatest.Process, topic string) int32 {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	cl := b.Client(t, kgo.SeedBrokers(b.Addr()))
	defer cl.Close()
	resp, err := req.RequestWith(t.Context(), cl.SeedBrokers()[0])
	if err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) == 0 {
		return -2
	}
	first := resp.Topics[0].Partitions[0].Leader
	for _, partition := range resp.Topics[0].Partitions {
		if partition.Leader != first {
			return -2
		}
	}
	return first
}
