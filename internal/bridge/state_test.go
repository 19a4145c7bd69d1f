package bridge_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
)

// TestStateIsRebuilt: local state that cannot be believed is restored from the changelog; other state is not.
func TestStateIsRebuilt(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		stop := c.run()
		c.produce(100)
		c.counted()
		stop()
		dir := filepath.Join(c.config.Dir, "0")
		alter := func(change func(*store.Checkpoint)) func() {
			return func() {
				engine := c.engine(0)
				at, _ := engine.Checkpoint(c.changelog())
				change(&at)
				batch := store.NewBatch()
				batch.SetCheckpoint(at)
				batch.Put("counts", []byte("key-0"), []byte("9999"))
				if err := errors.Join(engine.Apply(batch), engine.Close()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, damage := range []struct {
			name    string
			do      func()
			rebuilt bool
		}{
			{"none", func() {}, false},
			{"its files are damaged", func() {
				files, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
				if err != nil || len(files) == 0 {
					t.Fatalf("no manifest: %v", err)
				}
				for _, file := range files {
					if err := os.WriteFile(file, []byte("this is not a manifest"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}, true},
			{"ahead of the log", alter(func(at *store.Checkpoint) { at.Offset += 1000 }), true},
			{"ahead of the group", alter(func(at *store.Checkpoint) { at.Sequence += 1000 }), true},
			{"gone", func() { os.RemoveAll(dir) }, true},
			{"none again", func() {}, false},
		} {
			damage.do()
			stop := c.run()
			if read := c.watch.read(); read >= 100 != damage.rebuilt {
				t.Errorf("%s: %d changelog offsets were read, want a rebuild: %t", damage.name, read, damage.rebuilt)
			}
			c.produce(7)
			c.counted()
			stop()
		}
	})
}

// TestRefusesCopyOfAnotherChangelog: what the state follows from is gone.
func TestRefusesCopyOfAnotherChangelog(t *testing.T) {
	c := newCounting(t, kafkatest.Embedded(t), 1)
	stop := c.run()
	c.produce(10)
	c.counted()
	stop()
	engine := c.engine(0)
	at, _ := engine.Checkpoint(c.changelog())
	at.TopicID[3]++
	batch := store.NewBatch()
	batch.SetCheckpoint(at)
	if err := errors.Join(engine.Apply(batch), engine.Close()); err != nil {
		t.Fatal(err)
	}
	r := c.launch()
	if err := <-r.done; !errors.Is(err, bridge.ErrTopicRecreated) {
		t.Errorf("the processor ended with %v, want ErrTopicRecreated", err)
	}
	r.done <- nil
}

// TestCompactedTail: a changelog whose last offsets are compacted away, with and without the empty batch that Kafka leaves
// behind, sends no record that would end a restore.
func TestCompactedTail(t *testing.T) {
	for name, batch := range map[string]bool{"nothing left": false, "an empty batch left": true} {
		t.Run(name, func(t *testing.T) {
			b, err := broker.Start(t.Context(), broker.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			c := newCounting(t, kafkatest.At(b.Addr()), 1)
			stop := c.run()
			c.produce(20)
			c.counted()
			stop()
			end := c.broker.End(t, c.changelog(), 0, true)
			pretendTail(b, c, end, end+10, batch)
			began := time.Now()
			c.run()()
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the restore took %s", took)
			}
		})
	}
}

// pretendTail has the broker say that the changelog ends later than it does.
func pretendTail(b *broker.Broker, c *counting, end, pretended int64, batch bool) {
	id := b.Cluster().TopicInfo(c.changelog()).TopicID
	b.Cluster().ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		asked := request.(*kmsg.ListOffsetsRequest)
		if asked.Topics[0].Topic != c.changelog() || asked.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		response := asked.ResponseKind().(*kmsg.ListOffsetsResponse)
		p, topic := kmsg.NewListOffsetsResponseTopicPartition(), kmsg.NewListOffsetsResponseTopic()
		p.Offset = pretended
		topic.Topic, topic.Partitions = c.changelog(), []kmsg.ListOffsetsResponseTopicPartition{p}
		response.Topics = []kmsg.ListOffsetsResponseTopic{topic}
		return response, nil, true
	})
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		asked := request.(*kmsg.FetchRequest)
		if len(asked.Topics) != 1 || asked.Topics[0].TopicID != id || asked.Topics[0].Partitions[0].FetchOffset < end {
			return nil, nil, false
		}
		response := asked.ResponseKind().(*kmsg.FetchResponse)
		p, topic := kmsg.NewFetchResponseTopicPartition(), kmsg.NewFetchResponseTopic()
		p.HighWatermark, p.LastStableOffset = pretended, pretended
		if at := asked.Topics[0].Partitions[0].FetchOffset; batch && at < pretended {
			p.RecordBatches = viewTestEmptyBatch(at, pretended)
		}
		topic.Topic, topic.TopicID, topic.Partitions = c.changelog(), id, []kmsg.FetchResponseTopicPartition{p}
		response.Topics = []kmsg.FetchResponseTopic{topic}
		return response, nil, true
	})
}

// TestTopicThatBeginsLater: of a topic whose first records are gone and of which nothing was read, no position is committed
// that does not exist.
func TestTopicThatBeginsLater(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 1)
		other := c.app + "-other"
		b.CreateTopic(t, other, 1, nil)
		c.sub.Sources = append(c.sub.Sources, &graph.Node{Name: "from other", Kind: graph.Source, Topic: &graph.Topic{Name: other}, Start: c.start})
		for i := range 5 {
			b.ProduceTo(t, &kgo.Record{Topic: other, Key: []byte("gone"), Value: []byte(strconv.Itoa(i))})
		}
		if err := c.admin().DeleteRecords(t.Context(), log.Offsets{other: {0: 5}}); err != nil {
			t.Fatal(err)
		}
		stop := c.run()
		at, err := c.admin().CommittedOffsets(t.Context(), c.sub.Group, true, c.app+"-in", other)
		if err != nil {
			t.Fatal(err)
		}
		if first := at[other][0]; first.Offset != 5 || first.Metadata != (meta.Offset{}).String() {
			t.Errorf("the first commit of the other topic is %+v, want offset 5 and sequence 0", first)
		}
		c.produce(20)
		c.counted()
		stop()
		if at, err = c.admin().CommittedOffsets(t.Context(), c.sub.Group, true, c.app+"-in", other); err != nil || at[other][0].Offset != 5 {
			t.Errorf("the committed offset of the other topic is %+v, %v; want 5", at[other], err)
		}
		stop = c.run()
		b.ProduceTo(t, &kgo.Record{Topic: other, Key: []byte("key-0"), Value: []byte("x")})
		c.sent++
		c.counted()
		stop()
	})
}

// TestAtLeastOnce: connections are cut when records or offsets are written. Nothing is lost, offsets are committed only when
// what follows from their records is written, and the state has each record once.
func TestAtLeastOnce(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.OffsetCommit} {
			c, f := newCounting(t, b, 2), &faulty{key: key, lose: loseAnswer}
			c.config.Guarantee = bridge.AtLeastOnce
			c.config.Log.RequestTimeout = time.Second
			c.options = []kgo.Opt{kgo.Dialer(f.dial)}
			stop := c.run()
			for range 3 {
				cuts := f.cut()
				f.arm(true) // before there is anything to do, which may be done at once
				c.produce(200)
				c.await("a connection was cut", func() bool { return f.cut() > cuts })
				f.arm(false)
				c.produce(200)
			}
			c.atLeastOnce()
			stop()
			f.mu.Lock()
			if f.beside[[2]int16{int16(kmsg.OffsetCommit), int16(kmsg.Produce)}] && key != kmsg.Produce {
				t.Error("offsets were sent while records were not acknowledged")
			}
			f.mu.Unlock()
			c.config.Dir = t.TempDir()
			c.run()()
			c.atLeastOnce()
		}
	})
}

// atLeastOnce waits until each key has counted to what was produced of it, without a gap.
func (c *counting) atLeastOnce() {
	c.t.Helper()
	want := map[string]int{}
	for i := range c.sent {
		want[fmt.Sprintf("key-%d", i%7)]++
	}
	last := map[string]int{}
	for deadline := time.Now().Add(patience); fmt.Sprint(last) != fmt.Sprint(want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("counted are %v, want %v", last, want)
		}
		clear(last)
		for _, record := range c.broker.ReadAll(c.t, c.app+"-out", true) {
			n, _ := strconv.Atoi(string(record.Value))
			if n > last[string(record.Key)]+1 {
				c.t.Fatalf("%s counts %d after %d", record.Key, n, last[string(record.Key)])
			}
			last[string(record.Key)] = n
		}
	}
}

// TestInstancesOfTwoVersions: while one instance does not know a topic yet, both go on; when it is replaced, everything is
// read.
func TestInstancesOfTwoVersions(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 4)
		other := c.app + "-other"
		b.CreateTopic(t, other, 4, nil)
		stopOld := c.run()
		older := c.config
		newer := *c.sub
		newer.Sources = append(slices.Clone(c.sub.Sources), &graph.Node{Name: "from other", Kind: graph.Source, Topic: &graph.Topic{Name: other}, Start: c.start})
		c.config.SubTopology, c.config.Dir, c.config.InstanceID = &newer, t.TempDir(), "two"
		stopNew := c.run()
		c.produce(100)
		for range 100 {
			b.Produce(t, &kgo.Record{Topic: other, Key: fmt.Appendf(nil, "key-%d", c.sent%7), Value: []byte("x")})
			c.sent++
		}
		stopOld()
		if err := c.admin().RemoveStaticMember(t.Context(), c.sub.Group, older.InstanceID, ""); err != nil {
			t.Fatal(err)
		}
		c.counted()
		stopNew()
	})
}

// TestRefusesMorePartitions: partitions that are added while the processor runs end it, since keys have moved.
func TestRefusesMorePartitions(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCounting(t, b, 2)
		c.run()()
		r := c.launch()
		c.await("the tasks run", func() bool { return c.watch.sessions() > 1 })
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = c.app+"-in", 3
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = append(req.Topics, topic)
		if _, err := req.RequestWith(t.Context(), b.Client(t)); err != nil {
			t.Fatal(err)
		}
		// sarama notices within a minute; another instance's coming makes it look at once.
		other := c.config
		other.Dir, other.InstanceID = t.TempDir(), "two"
		c.config = other
		c.launch()
		select {
		case err := <-r.done:
			if !errors.Is(err, log.ErrPartitionMismatch) {
				t.Errorf("the processor ended with %v, want ErrPartitionMismatch", err)
			}
			r.done <- nil
		case <-time.After(patience):
			t.Error("the processor goes on")
		}
	})
}
