package log_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkCommit measures a transaction's cycle, begin to committed, with one
// producer and with two that take turns, on both brokers.
func BenchmarkCommit(b *testing.B) {
	for _, kind := range []string{kafkatest.KindEmbedded, kafkatest.KindReal} {
		for _, ids := range []int{1, 2, 3} {
			for _, n := range []int{1, 500} {
				b.Run(fmt.Sprintf("%s/ids=%d/records=%d", kind, ids, n), func(b *testing.B) {
					broker := kafkatest.Embedded
					if kind == kafkatest.KindReal {
						broker = kafkatest.Real
					}
					benchmarkCommit(b, broker(b), ids, n)
				})
			}
		}
	}
}

func benchmarkCommit(b *testing.B, broker kafkatest.Broker, ids, n int) {
	in, out := broker.Name(b)+"-in", broker.Name(b)+"-out"
	broker.CreateTopic(b, in, 4, nil)
	broker.CreateTopic(b, out, 4, nil)
	var turns []*log.TxnProducer
	for i := range ids {
		p, err := log.NewTxnProducer(config(broker), fmt.Sprintf("%s-%d", broker.Name(b), i), 20*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		if err := p.Init(b.Context()); err != nil {
			b.Fatal(err)
		}
		turns = append(turns, p)
	}
	m := log.Member{Group: broker.Name(b), Generation: -1}
	cycle := func(i int) {
		p := turns[i%ids]
		if err := p.Begin(); err != nil {
			b.Fatal(err)
		}
		for j := range n {
			p.Produce(&kgo.Record{Topic: out, Key: fmt.Appendf(nil, "%d", j), Value: make([]byte, 180)})
		}
		at := log.Positions{}
		for q := range int32(4) {
			at.Set(in, q, log.Position{Offset: int64(i), LeaderEpoch: -1})
		}
		if err := p.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := p.CommitOffsets(b.Context(), m, at); err != nil {
			b.Fatal(err)
		}
		if _, err := p.End(b.Context(), true); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 50 {
		cycle(i)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		cycle(i)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
