package processors

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the processor's, by group.
type metrics struct {
	records, bytes, aborted, rebalances, failed *prometheus.CounterVec
	commits                                     *prometheus.HistogramVec
	assigned, restored, toRestore               *prometheus.GaugeVec
	lag, storeBytes                             *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer, application string) (*metrics, error) {
	labels := prometheus.Labels{"application": application}
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tidemill_processor_" + name, Help: help, ConstLabels: labels}, by)
	}
	gauge := func(name, help string, by ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tidemill_processor_" + name, Help: help, ConstLabels: labels}, by)
	}
	m := &metrics{
		records:    counter("records_total", "Input records whose effects are committed.", "group"),
		bytes:      counter("written_bytes_total", "Bytes of state and records committed.", "group"),
		aborted:    counter("transactions_failed_total", "Transactions that were not committed.", "group"),
		rebalances: counter("sessions_total", "Sessions of the consumer group that have ended.", "group"),
		failed:     counter("records_failed_total", "Records that could not be processed: dead letters, unless configured otherwise.", "group", "topic", "cause"),
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidemill_processor_commit_seconds", Help: "From the end of a batch to its commit.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"group"}),
		assigned:   gauge("partitions_assigned", "Partitions whose tasks run here.", "group"),
		restored:   gauge("restore_records", "Changelog offsets restored so far.", "group", "store", "partition"),
		toRestore:  gauge("restore_records_total", "Changelog offsets to restore in all.", "group", "store", "partition"),
		lag:        gauge("lag", "Offsets between what is committed and what can be read, of the tasks that run here.", "group", "topic", "partition"),
		storeBytes: gauge("store_bytes", "Approximate size of the local stores of the tasks that run here.", "group", "store", "partition"),
	}
	if registerer == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.records, m.bytes, m.aborted, m.rebalances, m.failed, m.commits, m.assigned, m.restored, m.toRestore, m.lag, m.storeBytes} {
		if err := registerer.Register(c); err != nil {
			errs = append(errs, err)
		}
	}
	return m, errors.Join(errs...)
}

// begin has the counters of a group be there from the start: a rate over a counter that appears with its first event misses it.
func (m *metrics) begin(group string) {
	for _, counter := range []*prometheus.CounterVec{m.records, m.bytes, m.aborted, m.rebalances} {
		counter.WithLabelValues(group)
	}
	m.commits.WithLabelValues(group)
	m.assigned.WithLabelValues(group)
}

// forget takes out what is known of the tasks that ran: others may have them now.
func (m *metrics) forget(group string) {
	of := prometheus.Labels{"group": group}
	m.lag.DeletePartialMatch(of)
	m.storeBytes.DeletePartialMatch(of)
}
