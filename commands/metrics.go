package commands

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the commander's.
type metrics struct {
	requests *prometheus.CounterVec
	produce  prometheus.Histogram
	waits    *prometheus.HistogramVec
	outcomes *prometheus.CounterVec
	inFlight prometheus.Gauge
}

var buckets = []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 4, 8}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_commands_requests_total", Help: "Requests by route and status code.",
		}, []string{"route", "code"}),
		produce: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidemill_commands_produce_seconds", Help: "Time until the log acknowledged a command.", Buckets: buckets,
		}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidemill_commands_wait_seconds", Help: "Time waited for a command's outcome, and for the view to show it.",
			Buckets: buckets,
		}, []string{"for"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_commands_outcomes_total", Help: "What became of the commands that were waited for.",
		}, []string{"status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidemill_commands_in_flight", Help: "Requests being worked on.",
		}),
	}
	if registerer == nil {
		return m, nil
	}
	var wrong []error
	m.requests = register(registerer, m.requests, &wrong)
	m.produce = register(registerer, m.produce, &wrong)
	m.waits = register(registerer, m.waits, &wrong)
	m.outcomes = register(registerer, m.outcomes, &wrong)
	m.inFlight = register(registerer, m.inFlight, &wrong)
	return m, errors.Join(wrong...)
}

// register returns the collector to use: another commander's in the same process is shared.
func register[T prometheus.Collector](registerer prometheus.Registerer, collector T, wrong *[]error) T {
	err := registerer.Register(collector)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, same := already.ExistingCollector.(T); same {
			return existing
		}
	}
	if err != nil {
		*wrong = append(*wrong, err)
	}
	return collector
}

// waited begins to measure a wait; the returned function ends it.
func (m *metrics) waited(what string) func() {
	began := time.Now()
	return func() { m.waits.WithLabelValues(what).Observe(time.Since(began).Seconds()) }
}

func (m *metrics) answered(route string, code int) {
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
}
