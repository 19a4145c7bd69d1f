package bridge_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkViewRestore restores a changelog of 200,000 keys from an empty disk, the whole of it in every round.
func BenchmarkViewRestore(b *testing.B) {
	const keys = 200_000
	broker := kafkatest.Real(b)
	topic := broker.Name(b)
	broker.CreateTopic(b, topic, 4, viewTestCompacted)
	var records []*kgo.Record
	for i := range keys {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte("3f2c8b1a-" + strconv.Itoa(i)), Value: fmt.Appendf(nil, `{"value":%d.5,"version":1}`, i)})
	}
	broker.Produce(b, records...)
	records = nil
	dir := b.TempDir()
	round := 0
	for b.Loop() {
		round++
		view, err := bridge.NewView(bridge.ViewConfig{
			Name: "values", Topic: topic, Dir: filepath.Join(dir, strconv.Itoa(round)),
			Client: func(options ...kgo.Opt) (*kgo.Client, error) {
				return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker.Addr())}, options...)...)
			},
			Open:    func(dir string) (store.Engine, error) { return store.OpenLevelDB(dir, store.Options{}) },
			Destroy: store.Destroy,
		})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- view.Run(ctx) }()
		<-view.Ready()
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
