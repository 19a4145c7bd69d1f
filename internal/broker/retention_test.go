package broker_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/log"
)

// TestOffsetsOfEmptyGroupsAreKept: a group without members keeps its offsets when the broker looks for what has expired.
func TestOffsetsOfEmptyGroupsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	group, topic := "emptied", "input"
	for round := range 2 { // the second one reads them from the disk
		b, err := broker.Start(t.Context(), broker.Options{
			Dir: dir, AutoCreateTopics: true, Config: map[string]string{"offsets.retention.check.interval.ms": "10"},
		})
		if err != nil {
			t.Fatal(err)
		}
		config := log.Config{Brokers: []string{b.Addr()}}
		cl, err := log.NewProducer(config, kgo.AllowAutoTopicCreation())
		if err != nil {
			t.Fatal(err)
		}
		a, err := log.NewAdmin(config)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			ok(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
			ok(t, log.OffsetCommit(t.Context(), cl, log.Member{Group: group, Generation: -1}, log.Positions{topic: {0: {Offset: 1, LeaderEpoch: -1}}}))
		}
		for began := time.Now(); time.Since(began) < 200*time.Millisecond; time.Sleep(20 * time.Millisecond) {
			positions, err := a.CommittedOffsets(t.Context(), group, true, topic)
			if err != nil || positions[topic][0].Offset != 1 {
				t.Fatalf("round %d: the group's offsets are %v, %v", round, positions, err)
			}
		}
		a.Close()
		cl.Close()
		ok(t, b.Close())
	}
}
