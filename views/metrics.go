package views

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidemill/tidemill/internal/bridge"
)

// durations are the buckets of histograms, in seconds: from a fifth of a millisecond to ten seconds.
var durations = []float64{.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics are a view's metrics. Those of partitions are read from the view when they are asked for.
type metrics struct {
	registerer prometheus.Registerer // nil for none
	view       *bridge.View
	requests   *prometheus.HistogramVec // by route and code
	waits      prometheus.Histogram
	told       prometheus.Counter // changes and rows sent to watches

	watches, conflated, resets, pending                                *prometheus.Desc // of the whole view
	applied, position, lag, restored, toRestore, rebuilds, ready, size *prometheus.Desc
}

func newMetrics(name string, view *bridge.View, registerer prometheus.Registerer) *metrics {
	labels := prometheus.Labels{"view": name}
	describe := func(metric, help string) *prometheus.Desc {
		return prometheus.NewDesc("tidemill_view_"+metric, help, []string{"partition"}, labels)
	}
	gauge := func(metric, help string) *prometheus.Desc {
		return prometheus.NewDesc("tidemill_view_"+metric, help, nil, labels)
	}
	return &metrics{
		registerer: registerer,
		view:       view,
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidemill_view_http_request_duration_seconds", Help: "Time from a query's arrival to its answer, by route (key, rows, count, other) and status code.",
			ConstLabels: labels, Buckets: durations,
		}, []string{"route", "code"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidemill_view_token_wait_seconds", Help: "Time that queries waited for the position token they sent.",
			ConstLabels: labels, Buckets: durations,
		}),
		told: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidemill_view_watch_rows_sent_total", Help: "Rows, changes and deletions sent to streams of changes.", ConstLabels: labels,
		}),
		watches:   gauge("watches", "Open watches."),
		conflated: gauge("watch_conflated_total", "Changes that a slow watch was not told because a later one of the same row was there."),
		resets:    gauge("watch_resets_total", "Watches that had to begin anew with all rows."),
		pending:   gauge("watch_pending_bytes", "What is queued for slow watches."),
		applied:   describe("records_applied_total", "Changelog records applied since the start."),
		position:  describe("position", "Next changelog offset to apply."),
		lag:       describe("lag", "Offsets between the position and the changelog's last stable offset."),
		restored:  describe("restored_offsets", "Offsets done of the restore that runs or was the last."),
		toRestore: describe("restore_offsets", "Offsets to do in that restore, in total."),
		rebuilds:  describe("rebuilds_total", "Local copies that were not believed and rebuilt since the start."),
		ready:     describe("ready", "1 when the partition can be read, else 0."),
		size:      describe("store_bytes", "Approximate size of the local copy."),
	}
}

// register adds the metrics to the registerer; the function it returns takes them out.
func (m *metrics) register() (unregister func(), err error) {
	if m.registerer == nil {
		return func() {}, nil
	}
	var registered []prometheus.Collector
	unregister = func() {
		for _, collector := range registered {
			m.registerer.Unregister(collector)
		}
	}
	for _, collector := range []prometheus.Collector{m, m.requests, m.waits, m.told} {
		if err := m.registerer.Register(collector); err != nil {
			unregister()
			return nil, err
		}
		registered = append(registered, collector)
	}
	return unregister, nil
}

// awaited notes how long a token was waited for.
func (m *metrics) awaited(wait time.Duration) { m.waits.Observe(wait.Seconds()) }

// Describe sends the descriptions of the partitions' metrics.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{m.applied, m.position, m.lag, m.restored, m.toRestore, m.rebuilds, m.ready, m.size, m.watches, m.conflated, m.resets, m.pending} {
		descriptions <- description
	}
}

// Collect reads the partitions' metrics.
func (m *metrics) Collect(collected chan<- prometheus.Metric) {
	status := m.view.WatchStatus()
	collected <- prometheus.MustNewConstMetric(m.watches, prometheus.GaugeValue, float64(status.Open))
	collected <- prometheus.MustNewConstMetric(m.conflated, prometheus.CounterValue, float64(status.Conflated))
	collected <- prometheus.MustNewConstMetric(m.resets, prometheus.CounterValue, float64(status.Resets))
	collected <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(status.PendingBytes))
	for _, p := range m.view.Status(true) {
		number := strconv.Itoa(int(p.Partition))
		send := func(description *prometheus.Desc, kind prometheus.ValueType, value float64) {
			collected <- prometheus.MustNewConstMetric(description, kind, value, number)
		}
		ready := 0.0
		if p.Ready {
			ready = 1
		}
		send(m.applied, prometheus.CounterValue, float64(p.Applied))
		send(m.position, prometheus.GaugeValue, float64(p.Position))
		send(m.lag, prometheus.GaugeValue, float64(p.End-p.Position))
		send(m.restored, prometheus.GaugeValue, float64(max(0, min(p.Position, p.RestoreEnd)-p.RestoreStart)))
		send(m.toRestore, prometheus.GaugeValue, float64(max(0, p.RestoreEnd-p.RestoreStart)))
		send(m.rebuilds, prometheus.CounterValue, float64(p.Rebuilds))
		send(m.ready, prometheus.GaugeValue, ready)
		send(m.size, prometheus.GaugeValue, float64(p.Bytes))
	}
}
