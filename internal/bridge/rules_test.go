package bridge_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

func (c *counting) admin() *log.Admin {
	c.t.Helper()
	a, err := log.NewAdmin(log.Config{Brokers: c.broker.Brokers()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(a.Close)
	return a
}

// transaction opens a transaction under an id, with one record in it.
func (c *counting) transaction(id string, record *kgo.Record) *kgo.Client {
	c.t.Helper()
	client := c.broker.Client(c.t, kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := client.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	if err := client.ProduceSync(c.t.Context(), record).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
	return client
}

// logged is a changelog record as a task writes it.
func (c *counting) logged(sequence uint64, key, value string) *kgo.Record {
	return &kgo.Record{
		Topic: c.changelog(), Key: []byte(key), Value: []byte(value),
		Headers: []kgo.RecordHeader{{Key: meta.Changelog, Value: task.AppendChangelog(nil, sequence, nil)}},
	}
}

// position sets the offset of the one partition as a task commits it.
func (c *counting) position(offset int64, sequence uint64) {
	c.t.Helper()
	to := log.Positions{}
	to.Set(c.app+"-in", 0, log.Position{Offset: offset, LeaderEpoch: -1, Metadata: meta.Offset{Sequence: sequence}.String()})
	if err := c.admin().AlterOffsets(c.t.Context(), c.sub.Group, to); err != nil {
		c.t.Fatal(err)
	}
}

// TestRule01BeforeJoining: both ids are initialised before the group is joined, with a time-out no longer than the session's.
func TestRule01BeforeJoining(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 2)
		stop := c.run()
		c.produce(10)
		c.counted()
		ids := []string{c.sub.Group + ":one:0", c.sub.Group + ":one:1"}
		described, err := c.admin().DescribeTransactions(t.Context(), ids...)
		if err != nil || len(described) != 2 {
			t.Fatalf("described %+v, %v; want both ids", described, err)
		}
		for _, transaction := range described {
			if transaction.Timeout > c.config.Timeouts.Session {
				t.Errorf("the time-out of %s is %s, the session's %s", transaction.ID, transaction.Timeout, c.config.Timeouts.Session)
			}
		}
		stop()
	})
	t.Run("order", func(t *testing.T) {
		b, err := broker.Start(t.Context(), broker.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		seen := make(chan string, 1000) // the ids that are initialised, and "" for joining
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.JoinGroup} {
			b.Cluster().ControlKey(int16(key), func(request kmsg.Request) (kmsg.Response, error, bool) {
				b.Cluster().KeepControl()
				id := ""
				if initialised, ok := request.(*kmsg.InitProducerIDRequest); ok {
					id = *initialised.TransactionalID
				}
				seen <- id
				return nil, nil, false
			})
		}
		c := newCounting(t, kafkatest.At(b.Addr()), 1)
		c.run()()
		before := map[string]bool{}
		for id := <-seen; id != ""; id = <-seen {
			before[id] = true
		}
		if len(before) != 2 {
			t.Errorf("%v were initialised before the group was joined, want two ids", before)
		}
	})
}

// TestRule01Fenced: another instance takes our former life for departed and ends its transactions while we initialise its ids.
func TestRule01Fenced(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := newCounting(t, kafkatest.At(b.Addr()), 1)
	b.Cluster().ControlKey(int16(kmsg.InitProducerID), func(request kmsg.Request) (kmsg.Response, error, bool) {
		response := request.ResponseKind().(*kmsg.InitProducerIDResponse)
		response.ErrorCode = kerr.ProducerFenced.Code
		return response, nil, true
	})
	stop := c.run()
	c.produce(20)
	c.counted()
	stop()
}

// TestRule01Departed: open transactions of instances that have left are ended, also one that holds offsets of ours; those of
// members and of other applications are left alone.
func TestRule01Departed(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		c.produce(20)
		departed := c.transaction(c.sub.Group+":gone:1", c.logged(1, "key-0", "wrong"))
		id, epoch, err := departed.ProducerID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		to := log.Positions{}
		to.Set(c.app+"-in", 0, log.Position{Offset: 7, LeaderEpoch: -1, Metadata: "1:1:0"})
		options, err := c.config.Log.ClientOptions()
		if err != nil {
			t.Fatal(err)
		}
		plain, err := kgo.NewClient(options...)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		err = log.TxnOffsetCommit(t.Context(), plain, true, log.Member{Group: c.sub.Group, Generation: -1},
			log.Producer{TransactionalID: c.sub.Group + ":gone:1", ID: id, Epoch: epoch}, to)
		if err != nil {
			t.Fatal(err)
		}
		others := []string{c.sub.Group + "-x:one:0", c.sub.Group + "-gone-0", c.app + ":gone:0", c.sub.Group + ":gone:2", c.sub.Group + "::0"}
		for _, other := range others {
			c.transaction(other, &kgo.Record{Topic: c.app + "-in", Key: []byte("other"), Value: []byte("not to be read")})
		}
		began := time.Now()
		stop := c.run()
		t.Logf("it runs after %s", time.Since(began).Round(time.Millisecond))
		open, err := c.admin().OpenTransactions(t.Context(), c.app)
		if err != nil {
			t.Fatal(err)
		}
		open = slices.DeleteFunc(open, func(id string) bool { // its own first commit's markers may still be on their way
			return strings.HasPrefix(id, c.sub.Group+":one:")
		})
		slices.Sort(others)
		if fmt.Sprint(open) != fmt.Sprint(others) {
			t.Errorf("open are %v, want the others' %v", open, others)
		}
		c.counted()
		stop()
	})
}

// TestRule02Rebalances: instances come and go under load. Each session ends with what it had stepped, and forgets the rest.
func TestRule02Rebalances(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 4)
		stop := c.run()
		for range 3 {
			c.produce(500)
			own := c.config
			c.config.Dir, c.config.InstanceID = t.TempDir(), "two"
			stopTwo := c.run()
			c.produce(500)
			stopTwo()
			c.produce(500)
			if err := c.admin().RemoveStaticMember(t.Context(), c.sub.Group, "two", ""); err != nil {
				t.Fatal(err)
			}
			c.config = own
		}
		c.counted()
		stop()
		if failures := c.watch.failed(); len(failures) > 0 {
			t.Errorf("transactions failed, though each session could end in peace: %v", failures)
		}
	})
}

// TestRule03Overlap: while the answer to one transaction's end is awaited, the next is worked on and nothing of it is sent.
func TestRule03Overlap(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c, f := newCounting(t, b, 1), &faulty{key: kmsg.EndTxn, lose: loseNothing, delay: 100 * time.Millisecond}
		c.options = []kgo.Opt{kgo.Dialer(f.dial)}
		stop := c.run()
		overlapped := false
		for range 10 {
			c.produce(20)
			before := c.steps.Load()
			c.await("an end is awaited", func() bool { return f.awaits(kmsg.EndTxn) })
			c.produce(20)
			c.await("more is stepped", func() bool { return c.steps.Load() > before })
			overlapped = overlapped || f.awaits(kmsg.EndTxn)
		}
		c.counted()
		stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.AddOffsetsToTxn, kmsg.EndTxn} {
			if f.beside[[2]int16{int16(key), int16(kmsg.EndTxn)}] {
				t.Errorf("a %s was sent before the outcome of the last transaction was known", key.Name())
			}
		}
		if !overlapped {
			t.Error("nothing was stepped while a transaction was committed")
		}
	})
}

// TestRule05NoOutput: topologies that write nothing commit their offsets all the same.
func TestRule05NoOutput(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		for _, guarantee := range []bridge.Guarantee{bridge.ExactlyOnce, bridge.AtLeastOnce} {
			c := newCounting(t, b, 1)
			seen := 0 // a local effect; the one task's
			c.sub.Stores = nil
			c.sub.Sources[0].Start = func(*graph.Context) (graph.Entry, error) {
				return func(*graph.Context, []byte, []byte) error { seen++; return nil }, nil
			}
			c.config.Guarantee = guarantee
			stop := c.run()
			for range 5 { // both producers take their turns
				c.produce(20)
				c.await("the offsets are committed", func() bool {
					at, err := c.admin().CommittedOffsets(t.Context(), c.sub.Group, true, c.app+"-in")
					return err == nil && at[c.app+"-in"][0].Offset == c.sent
				})
			}
			stop()
			if int64(seen) != c.sent {
				t.Errorf("%d records were seen of %d", seen, c.sent)
			}
			sessions := c.watch.sessions()
			c.run()()
			if int64(seen) != c.sent || c.watch.sessions() != sessions+1 {
				t.Errorf("%d records were seen of %d after a restart", seen, c.sent)
			}
			if failures := c.watch.failed(); len(failures) > 0 {
				t.Errorf("transactions failed: %v", failures)
			}
		}
	})
}

// TestRule06Abort: transactions are aborted from outside in the middle of the work; what was seen of them is stepped again.
func TestRule06Abort(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 3)
		stop, admin := c.run(), c.admin()
		for i := range 6 {
			c.produce(300)
			if err := admin.AbortTransactions(t.Context(), fmt.Sprint(c.sub.Group, ":one:", i%2)); err != nil {
				t.Fatal(err)
			}
			c.produce(300)
		}
		c.counted()
		stop()
		if len(c.watch.failed()) == 0 {
			t.Error("no transaction was aborted: the test shows nothing")
		}
	})
}

// TestRule08LateMarker: the group's offsets contain a transaction whose marker has not reached the changelog yet. The restore
// waits for it.
func TestRule08LateMarker(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		c.produce(1)
		c.position(1, 5)
		late := c.transaction(c.app+"-elsewhere", c.logged(5, "key-0", "1"))
		c.broker.ProduceTo(t, &kgo.Record{Topic: c.app + "-out", Key: []byte("key-0"), Value: []byte("1")})
		sessions := c.watch.sessions()
		r := c.launch()
		time.Sleep(500 * time.Millisecond)
		if c.watch.sessions() != sessions {
			t.Error("the tasks run although a transaction in their changelog is undecided")
		}
		if err := late.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		c.produce(13) // key-1 to key-6 and again
		c.counted()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestRule08AbortedTail: the changelog ends in aborted records and markers.
func TestRule08AbortedTail(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		stop := c.run()
		c.produce(30)
		c.counted()
		stop()
		for i := range 3 {
			client := c.transaction(fmt.Sprint(c.app, "-elsewhere-", i), c.logged(1, "key-0", "wrong"))
			if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range []string{c.config.Dir, t.TempDir()} { // with the local state, and without
			c.config.Dir = dir
			stop = c.run()
			c.produce(7)
			c.counted()
			stop()
		}
	})
}

// TestRule08LaterSequence: a changelog record beyond the group's sequence is not applied: its input is stepped again.
func TestRule08LaterSequence(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		c.produce(1)
		c.position(0, 4)
		b.ProduceTo(t, c.logged(5, "key-0", "1"))
		stop := c.run()
		c.produce(6)
		c.counted()
		stop()
	})
}

// TestRule09OldCopy: local state older than tombstones live is restored from the beginning; younger state is not.
func TestRule09OldCopy(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		stop := c.run()
		c.produce(100)
		c.counted()
		stop()
		for _, age := range []struct {
			days int
			old  bool
		}{{1, false}, {6, false}, {7, true}, {30, true}} {
			engine := c.engine(0)
			at, ok := engine.Checkpoint(c.changelog())
			if !ok {
				t.Fatal("there is no checkpoint")
			}
			at.WrittenAt = time.Now().AddDate(0, 0, -age.days).UnixMilli()
			batch := store.NewBatch()
			batch.SetCheckpoint(at)
			// A row that was deleted meanwhile, by a tombstone that is gone.
			batch.Put("counts", []byte("dead"), []byte("1"))
			if err := errors.Join(engine.Apply(batch), engine.Close()); err != nil {
				t.Fatal(err)
			}
			stop := c.run()
			read := c.watch.read()
			stop()
			engine = c.engine(0)
			_, alive, err := engine.Get("counts", []byte("dead"))
			if err := errors.Join(err, engine.Close()); err != nil {
				t.Fatal(err)
			}
			if rebuilt := read >= 100; rebuilt != age.old || alive == age.old {
				t.Errorf("%d days old: %d records read, a deleted row alive: %t; want a rebuild: %t", age.days, read, alive, age.old)
			}
		}
		stop = c.run()
		c.produce(7)
		c.counted()
		stop()
	})
}

// TestRule10StaticMember: a stop keeps the static member, so that a restart moves nothing; removing it on purpose does.
func TestRule10StaticMember(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 2)
		members := func() (names []string) {
			_, found, err := c.admin().GroupMembers(t.Context(), c.sub.Group)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range found {
				names = append(names, m.InstanceID)
			}
			return names
		}
		c.run()()
		if got := fmt.Sprint(members()); got != "[one]" {
			t.Errorf("the members after a stop are %s", got)
		}
		c.run()()
		if err := c.admin().RemoveStaticMember(t.Context(), c.sub.Group, "one", ""); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(members()); got != "[]" {
			t.Errorf("the members after a removal are %s", got)
		}
	})
}

// TestRule10SecondProcess under the same instance id: the first one ends and says why, and the work is done once.
func TestRule10SecondProcess(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 2)
		sessions := c.watch.sessions()
		first := c.launch()
		c.await("the first runs", func() bool { return c.watch.sessions() > sessions })
		c.produce(50)
		c.counted()
		c.config.Dir = t.TempDir()
		stop := c.run()
		c.produce(50)
		select {
		case err := <-first.done:
			if !errors.Is(err, bridge.ErrInstanceInUse) || !strings.Contains(err.Error(), "stop the other process") {
				t.Errorf("the first process ended with %v, want ErrInstanceInUse and the fix", err)
			}
			first.done <- nil
		case <-time.After(patience):
			t.Error("the first process goes on")
		}
		c.counted()
		stop()
	})
}

// TestRule10LateJoin: a join under our instance id that nobody stands behind takes it from us. We take it back when that member
// has expired.
func TestRule10LateJoin(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 2)
		sessions := c.watch.sessions()
		stop := c.run()
		c.await("it runs", func() bool { return c.watch.sessions() > sessions })
		c.produce(50)
		c.counted()
		c.joinAs(c.config.InstanceID)
		c.produce(50)
		c.counted()
		stop()
	})
}

// joinAs joins the group under an instance id, as a request that comes late would, and does nothing more.
func (c *counting) joinAs(instance string) {
	c.t.Helper()
	client := c.broker.Client(c.t)
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{c.sub.Group}
	described, err := describe.RequestWith(c.t.Context(), client)
	if err != nil || len(described.Groups) != 1 || len(described.Groups[0].Members) != 1 {
		c.t.Fatalf("the group is %+v, %v", described, err)
	}
	group := described.Groups[0]
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = group.Protocol, group.Members[0].ProtocolMetadata
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.InstanceID, join.ProtocolType, join.Protocols = c.sub.Group, &instance, group.ProtocolType, append(join.Protocols, protocol)
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = int32(c.config.Timeouts.Session.Milliseconds()), int32(c.config.Timeouts.Rebalance.Milliseconds())
	joined, err := join.RequestWith(c.t.Context(), client)
	if err == nil {
		err = kerr.ErrorForCode(joined.ErrorCode)
	}
	if err != nil || joined.MemberID == group.Members[0].MemberID {
		c.t.Fatalf("joining as %s: %v, as member %s", instance, err, joined.MemberID)
	}
}

// TestRule11OlderTransactions: where the cluster does not add groups to transactions by itself, they are added.
func TestRule11OlderTransactions(t *testing.T) {
	for _, level := range []int{0, 2} {
		t.Run(fmt.Sprint("transaction.version ", level), func(t *testing.T) {
			var b kafkatest.Broker
			if level == 2 {
				b = kafkatest.Real(t)
			} else {
				b = kafkatest.RealOwn(t, kafkatest.Options{Features: map[string]int{"transaction.version": level}}).Broker
			}
			c := newCounting(t, b, 2)
			if got, _, err := c.admin().FinalizedFeature(t.Context(), "transaction.version"); err != nil || got != int16(level) {
				t.Fatalf("transaction.version is %d, %v", got, err)
			}
			stop := c.run()
			for range 5 {
				c.produce(20)
				c.counted()
			}
			stop()
			if failures := c.watch.failed(); len(failures) > 0 {
				t.Errorf("transactions failed: %v", failures)
			}
		})
	}
}

// TestRule11TooOld: a broker that cannot fence members of a group is refused.
func TestRule11TooOld(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := newCounting(t, kafkatest.At(b.Addr()), 1)
	b.Cluster().ControlKey(int16(kmsg.ApiVersions), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		response := request.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key := range int16(68) {
			named := kmsg.RequestForKey(key)
			if named == nil {
				continue
			}
			version := kmsg.NewApiVersionsResponseApiKey()
			version.ApiKey, version.MaxVersion = key, min(named.MaxVersion(), 9)
			if kmsg.Key(key) == kmsg.TxnOffsetCommit {
				version.MaxVersion = 2
			}
			response.ApiKeys = append(response.ApiKeys, version)
		}
		return response, nil, true
	})
	r := c.launch()
	select {
	case err := <-r.done:
		if !errors.Is(err, log.ErrBrokerTooOld) || !strings.Contains(err.Error(), "Kafka 2.5") {
			t.Errorf("the processor ended with %v, want ErrBrokerTooOld and what is needed", err)
		}
		r.done <- nil
	case <-time.After(patience):
		t.Error("the processor goes on")
	}
}
