package subscriptions

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	read     *prometheus.CounterVec
	streams  prometheus.Gauge
	streamed prometheus.Counter
	slow     prometheus.Counter
	statuses *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		read: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_commands_followed_total", Help: "Records that the subscriptions have read, by what they are.",
		}, []string{"record"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tidemill_commands_streams", Help: "Open streams of outcomes.",
		}),
		streamed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidemill_commands_streamed_total", Help: "Outcomes sent to streams.",
		}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidemill_commands_slow_readers_total", Help: "Streams ended because their reader was too slow.",
		}),
		statuses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_commands_status_requests_total", Help: "Requests for the status of a command, by what was found.",
		}, []string{"status"}),
	}
	if registerer == nil {
		return m, nil
	}
	var wrong []error
	for _, collector := range []prometheus.Collector{m.read, m.streams, m.streamed, m.slow, m.statuses} {
		wrong = append(wrong, registerer.Register(collector))
	}
	return m, errors.Join(wrong...)
}
