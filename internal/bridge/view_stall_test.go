package bridge_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	viewTestKept = 5  // records that are there
	viewTestEnd  = 10 // where the log says that it ends
)

// A log whose last offsets are compacted away, with and without the empty batch that Kafka leaves behind, sends no record
// that would end the restore.
func TestViewPassesACompactedTail(t *testing.T) {
	for name, tail := range map[string][]byte{"nothing left": nil, "an empty batch left": viewTestEmptyBatch(viewTestKept, viewTestEnd)} {
		t.Run(name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "tail"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
			if err != nil {
				t.Fatal(err)
			}
			defer producer.Close()
			for i := range viewTestKept {
				record := &kgo.Record{Topic: "tail", Key: []byte("k" + strconv.Itoa(i)), Value: []byte("v")}
				if err := producer.ProduceSync(t.Context(), record).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			viewTestPretend(cluster, tail)
			viewTestRestoreTail(t, cluster)
		})
	}
}

func viewTestRestoreTail(t *testing.T, cluster *kfake.Cluster) {
	t.Helper()
	view, stop := viewTestRunTail(t, cluster)
	if status := view.Status(false)[0]; status.Position != viewTestEnd || status.Applied < viewTestKept {
		t.Errorf("the view stands at %d with %d records applied, want %d and %d", status.Position, status.Applied, viewTestEnd, viewTestKept)
	}
	stop()
}

// viewTestRunTail runs a view of the topic tail and waits until it is restored.
func viewTestRunTail(t *testing.T, cluster *kfake.Cluster) (*bridge.View, func()) {
	t.Helper()
	log := &viewTestLog{t: t}
	t.Cleanup(log.end)
	view, err := bridge.NewView(bridge.ViewConfig{
		Name: "tail", Topic: "tail", Dir: t.TempDir(), MaxAge: time.Hour,
		Client: func(options ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}, options...)...)
		},
		Open:    func(dir string) (store.Engine, error) { return store.OpenLevelDB(dir, store.Options{}) },
		Destroy: store.Destroy,
		Logger:  slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- view.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-view.Ready():
	case <-time.After(viewTestPatience):
		t.Fatalf("the view is not restored: %+v", view.Status(false))
	}
	return view, stop
}

// viewTestPretend has the cluster say that the log ends later than it does, and answer fetches there with the given tail.
func viewTestPretend(cluster *kfake.Cluster, tail []byte) {
	viewTestPretendEnd(cluster, func() int64 { return viewTestEnd })
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := request.(*kmsg.FetchRequest)
		if len(asked.Topics) == 0 || asked.Topics[0].Partitions[0].FetchOffset < viewTestKept {
			return nil, nil, false
		}
		response := asked.ResponseKind().(*kmsg.FetchResponse)
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset = viewTestEnd, viewTestEnd
		if asked.Topics[0].Partitions[0].FetchOffset < viewTestEnd {
			p.RecordBatches = tail
		}
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = "tail", asked.Topics[0].TopicID
		topic.Partitions = []kmsg.FetchResponseTopicPartition{p}
		response.Topics = []kmsg.FetchResponseTopic{topic}
		return response, nil, true
	})
}

// viewTestPretendEnd has the cluster say where the log ends.
func viewTestPretendEnd(cluster *kfake.Cluster, end func() int64) {
	cluster.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := request.(*kmsg.ListOffsetsRequest)
		response := asked.ResponseKind().(*kmsg.ListOffsetsResponse)
		p := kmsg.NewListOffsetsResponseTopicPartition()
		if p.Offset = 0; asked.Topics[0].Partitions[0].Timestamp == -1 {
			p.Offset = end()
		}
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic, topic.Partitions = "tail", []kmsg.ListOffsetsResponseTopicPartition{p}
		response.Topics = []kmsg.ListOffsetsResponseTopic{topic}
		return response, nil, true
	})
}

// viewTestEmptyBatch returns what compaction leaves of a batch whose records are all gone.
func viewTestEmptyBatch(first, end int64) []byte {
	batch := kmsg.RecordBatch{
		FirstOffset: first, PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(end - first - 1),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
	}
	raw := batch.AppendTo(nil)
	batch.Length = int32(len(raw) - 12)
	raw = batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// A log that ends before what was read from it has lost records; the copy of them is not believed.
func TestViewAheadOfTheLog(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "tail"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i := range viewTestEnd {
		record := &kgo.Record{Topic: "tail", Key: []byte("k" + strconv.Itoa(i)), Value: []byte("v")}
		if err := producer.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	view, stop := viewTestRunTail(t, cluster)
	if position := view.Position(0); position != viewTestEnd {
		t.Fatalf("the view stands at %d", position)
	}
	var short atomic.Bool
	short.Store(true)
	viewTestPretendEnd(cluster, func() int64 {
		if short.Load() {
			return viewTestKept
		}
		return viewTestEnd
	})
	viewTestEventually(t, "the copy is discarded", func() bool { return view.Status(false)[0].Rebuilds > 0 })
	short.Store(false)
	viewTestEventually(t, "the copy is rebuilt", func() bool { return view.Recovered() && view.Position(0) == viewTestEnd })
	stop()
}
