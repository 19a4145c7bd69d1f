package processors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/task"
)

// Status is what a processor is doing.
type Status struct {
	// Groups, one for each sub-topology, in order of their names.
	Groups []GroupStatus
}

// Running tells whether every sub-topology's tasks are restored and run.
func (s Status) Running() bool {
	for _, group := range s.Groups {
		if !group.Running {
			return false
		}
	}
	return len(s.Groups) > 0
}

// NotReady returns nil where Running is true, else an error that says what is waited for and why the last session failed.
func (s Status) NotReady() error {
	for _, group := range s.Groups {
		if group.Running {
			continue
		}
		text := "joining group " + group.Group
		var parts []string
		for _, restore := range group.Restores {
			parts = append(parts, fmt.Sprintf("%s/%d: %d of %d", restore.Store, restore.Partition, restore.Done, restore.Total))
		}
		if len(parts) > 0 {
			text = "restoring " + strings.Join(parts, ", ")
		}
		if group.LastError != nil {
			return fmt.Errorf("%s; the last session ended with: %w", text, group.LastError)
		}
		return errors.New(text)
	}
	return nil
}

// GroupStatus is what one sub-topology is doing.
type GroupStatus struct {
	Group      string
	Running    bool
	Partitions []int32
	// Restores that are under way, or the last ones, by store and partition.
	Restores []RestoreStatus
	// LastError is why the last session ended, if it failed.
	LastError error
}

// RestoreStatus is the progress of one store's restore, in changelog offsets.
type RestoreStatus struct {
	Store       string
	Partition   int32
	Done, Total int64
}

// observer turns what the bridge tells into status and metrics.
type observer struct {
	metrics *metrics
	ready   chan struct{}

	mu     sync.Mutex
	subs   []*subObserver // guarded by mu
	opened bool           // ready is closed; guarded by mu
}

func newObserver(g *graph.Graph, config Config) (*observer, error) {
	m, err := newMetrics(config.Metrics, g.Application)
	if err != nil {
		return nil, err
	}
	o := &observer{metrics: m, ready: make(chan struct{})}
	for _, sub := range g.SubTopologies {
		o.subs = append(o.subs, &subObserver{parent: o, state: GroupStatus{Group: sub.Group}})
		m.begin(sub.Group)
	}
	return o, nil
}

func (o *observer) sub(sub *graph.SubTopology) bridge.ProcessorObserver {
	for _, have := range o.subs {
		if have.state.Group == sub.Group {
			return have
		}
	}
	return nil
}

func (o *observer) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	var s Status
	for _, sub := range o.subs {
		group := sub.state
		group.Partitions = slices.Clone(group.Partitions)
		group.Restores = slices.Clone(group.Restores)
		s.Groups = append(s.Groups, group)
	}
	return s
}

// subObserver implements bridge.ProcessorObserver for one sub-topology.
type subObserver struct {
	parent *observer
	state  GroupStatus // guarded by parent.mu
}

// Running implements bridge.ProcessorObserver.
func (s *subObserver) Running(partitions []int32) {
	o := s.parent
	o.mu.Lock()
	defer o.mu.Unlock()
	s.state.Running, s.state.Partitions, s.state.LastError = true, slices.Clone(partitions), nil
	o.metrics.assigned.WithLabelValues(s.state.Group).Set(float64(len(partitions)))
	for _, sub := range o.subs {
		if !sub.state.Running {
			return
		}
	}
	if !o.opened {
		o.opened = true
		close(o.ready)
	}
}

// SessionEnded implements bridge.ProcessorObserver.
func (s *subObserver) SessionEnded(err error) {
	o := s.parent
	o.mu.Lock()
	defer o.mu.Unlock()
	s.state.Running, s.state.Partitions, s.state.Restores = false, nil, nil
	if err != nil {
		s.state.LastError = err
	}
	o.metrics.assigned.WithLabelValues(s.state.Group).Set(0)
	o.metrics.rebalances.WithLabelValues(s.state.Group).Inc()
	o.metrics.forget(s.state.Group)
}

// RecordFailed implements bridge.ProcessorObserver.
func (s *subObserver) RecordFailed(record task.Record, err *graph.RecordError) {
	s.parent.metrics.failed.WithLabelValues(s.state.Group, record.Topic, string(err.Cause)).Inc()
}

// Restoring implements bridge.ProcessorObserver.
func (s *subObserver) Restoring(store string, partition int32, done, total int64) {
	o := s.parent
	number := strconv.Itoa(int(partition))
	o.metrics.restored.WithLabelValues(s.state.Group, store, number).Set(float64(done))
	o.metrics.toRestore.WithLabelValues(s.state.Group, store, number).Set(float64(total))
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range s.state.Restores {
		if r := &s.state.Restores[i]; r.Store == store && r.Partition == partition {
			r.Done, r.Total = done, total
			return
		}
	}
	s.state.Restores = append(s.state.Restores, RestoreStatus{Store: store, Partition: partition, Done: done, Total: total})
}

// Measured implements bridge.ProcessorObserver.
func (s *subObserver) Measured(measures bridge.Measures) {
	set := func(gauge *prometheus.GaugeVec, values map[string]map[int32]int64) {
		for name, partitions := range values {
			for number, value := range partitions {
				gauge.WithLabelValues(s.state.Group, name, strconv.Itoa(int(number))).Set(float64(value))
			}
		}
	}
	set(s.parent.metrics.lag, measures.Lag)
	set(s.parent.metrics.storeBytes, measures.StoreBytes)
}

// TransactionCommitted implements commit.Observer.
func (s *subObserver) TransactionCommitted(records, bytes int, took time.Duration) {
	m := s.parent.metrics
	m.records.WithLabelValues(s.state.Group).Add(float64(records))
	m.bytes.WithLabelValues(s.state.Group).Add(float64(bytes))
	m.commits.WithLabelValues(s.state.Group).Observe(took.Seconds())
}

// TransactionFailed implements commit.Observer.
func (s *subObserver) TransactionFailed(err error) {
	o := s.parent
	o.mu.Lock()
	s.state.LastError = err
	o.mu.Unlock()
	o.metrics.aborted.WithLabelValues(s.state.Group).Inc()
}
