package views

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidemill/tidemill/internal/share"
)

// sharingMetrics are the metrics of a Sharing. Those of partitions are read when they are asked for.
type sharingMetrics struct {
	registerer prometheus.Registerer // nil for none
	sharing    *Sharing
	assigned   prometheus.Counter
	queries    *prometheus.CounterVec // by how they were answered
	waits      prometheus.Histogram

	partitions, instances, generation, confirmed *prometheus.Desc
}

// The ways in which a query to a shared view is answered, the values of the label "way".
const (
	wayOwner    = "owner"    // here, as the owner
	wayStandby  = "standby"  // here, as a standby or while the partition moves
	wayForward  = "forward"  // by another instance
	wayRedirect = "redirect" // by sending the client elsewhere
	wayGather   = "gather"   // from several instances
	wayPartial  = "partial"  // from several instances, of which some did not answer
	wayRefused  = "refused"  // a forwarded query: sent back, this instance cannot answer it
	wayFailed   = "failed"   // nobody could in time
)

func newSharingMetrics(s *Sharing, registerer prometheus.Registerer) *sharingMetrics {
	labels := prometheus.Labels{"group": s.config.Group}
	describe := func(metric, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("tidemill_sharing_"+metric, help, variable, labels)
	}
	return &sharingMetrics{
		registerer: registerer,
		sharing:    s,
		assigned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidemill_sharing_assignments_total", Help: "Assignments of partitions to instances that this one was given.", ConstLabels: labels,
		}),
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_sharing_queries_total", Help: "Queries by the way they were answered: owner, standby, forward, redirect, gather, partial, refused, failed.", ConstLabels: labels,
		}, []string{"way"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidemill_sharing_fresh_wait_seconds", Help: "Time that queries waited for a local copy to be as fresh as they need it.",
			ConstLabels: labels, Buckets: durations,
		}),
		partitions: describe("partitions", "Partitions that this instance has, by role: owner, standby, warming.", "role"),
		instances:  describe("instances", "Instances that share the partitions."),
		generation: describe("generation", "The group's generation of the assignment that holds."),
		confirmed:  describe("confirmed_timestamp_seconds", "When the group's coordinator last confirmed the membership; 0 for never."),
	}
}

// register adds the metrics to the registerer; the function it returns takes them out.
func (m *sharingMetrics) register() (unregister func(), err error) {
	if m.registerer == nil {
		return func() {}, nil
	}
	var registered []prometheus.Collector
	unregister = func() {
		for _, collector := range registered {
			m.registerer.Unregister(collector)
		}
	}
	for _, collector := range []prometheus.Collector{m, m.assigned, m.queries, m.waits} {
		if err := m.registerer.Register(collector); err != nil {
			unregister()
			return nil, err
		}
		registered = append(registered, collector)
	}
	return unregister, nil
}

// answered counts a query.
func (m *sharingMetrics) answered(way string) { m.queries.WithLabelValues(way).Inc() }

// Describe sends the descriptions of what is read when asked for.
func (m *sharingMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{m.partitions, m.instances, m.generation, m.confirmed} {
		descriptions <- description
	}
}

// Collect reads the present assignment.
func (m *sharingMetrics) Collect(collected chan<- prometheus.Metric) {
	send := func(description *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	m.sharing.mu.Lock()
	current, member := m.sharing.current, m.sharing.member
	m.sharing.mu.Unlock()
	if current == nil {
		current = &share.Map{}
	}
	for _, role := range []share.Role{share.Owner, share.Standby, share.Warming} {
		send(m.partitions, float64(len(current.With(m.sharing.config.Instance, role))), role.String())
	}
	send(m.instances, float64(len(current.Instances)))
	send(m.generation, float64(current.Generation))
	confirmed := 0.0
	if member != nil {
		if at := member.Confirmed(); !at.IsZero() {
			confirmed = float64(at.UnixMilli()) / 1000
		}
	}
	send(m.confirmed, confirmed)
}
