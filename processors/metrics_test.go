package processors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// gathered returns the sum of a metric over its labels, and of how many there are.
func gathered(t testing.TB, registry *prometheus.Registry, name string) (sum float64, series int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			sum += metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			series++
		}
	}
	return sum, series
}

// awaitMetric waits until the sum of a metric is what is wanted.
func awaitMetric(t testing.TB, registry *prometheus.Registry, name string, wanted func(sum float64, series int) bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		sum, series := gathered(t, registry, name)
		if wanted(sum, series) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v over %d series", name, sum, series)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLagAndSizesAreMeasured(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app := b.Name(t)
		hold := make(chan struct{})
		builder := topology.New(app)
		builder.From(topology.NewTopic(app+"-in", codecs.String(), codecs.String(), topology.Partitions(2))).
			Peek(func(_, _ string) { <-hold }).
			GroupByKey().Count("counts")
		built, err := builder.Build()
		if err != nil {
			t.Fatal(err)
		}
		c := config(t, b)
		registry := prometheus.NewRegistry()
		c.Metrics = registry
		p, err := processors.New(built, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"records_total", "written_bytes_total", "transactions_failed_total", "sessions_total", "partitions_assigned"} {
			if _, series := gathered(t, registry, "tidemill_processor_"+name); series != 1 {
				t.Errorf("before anything has happened there are %d series of %s", series, name)
			}
		}
		stop := run(t, p)
		const n = 100
		var records []*kgo.Record
		for i := range n {
			records = append(records, &kgo.Record{Topic: app + "-in", Key: fmt.Appendf(nil, "key-%d", i%10), Value: []byte("x")})
		}
		b.Produce(t, records...)
		awaitMetric(t, registry, "tidemill_processor_lag", func(sum float64, series int) bool { return sum == n && series == 2 })
		close(hold)
		awaitMetric(t, registry, "tidemill_processor_lag", func(sum float64, series int) bool { return sum == 0 && series == 2 })
		awaitMetric(t, registry, "tidemill_processor_store_bytes", func(sum float64, series int) bool { return sum > 0 && series == 2 })
		stop()
		for _, name := range []string{"lag", "store_bytes"} {
			if _, series := gathered(t, registry, "tidemill_processor_"+name); series != 0 {
				t.Errorf("after the end there are %d series of %s", series, name)
			}
		}
	})
}
