package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/topology"
)

// prepareTopics creates what may be created and checks the rest, before any group is joined. It reports every problem.
func (p *Processor) prepareTopics(ctx context.Context, state *stateDir) error {
	admin, err := log.NewAdmin(p.config.Kafka)
	if err != nil {
		return err
	}
	defer admin.Close()
	if !p.config.AwaitBrokers {
		if err := admin.Ping(ctx); err != nil {
			return err
		}
		// There are brokers. If they go away now, they are waited for, as they are later.
	}
	return p.awaitBrokers(ctx, func() error { return p.makeTopics(ctx, admin, state) })
}

// awaitBrokers tries something again and again while no broker answers, until ctx is done.
func (p *Processor) awaitBrokers(ctx context.Context, try func() error) error {
	for delay := startDelay; ; delay = min(2*delay, startDelayMax) {
		err := try()
		if err == nil || !errors.Is(err, log.ErrUnreachable) {
			return err
		}
		if ctx.Err() == nil {
			p.config.Logger.Warn("no broker answers while topics are prepared; trying again", "brokers", p.config.Kafka.String(), "error", err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(delay):
		}
	}
}

// How long to wait between two attempts to start while no broker answers: doubled up to the maximum.
const (
	startDelay    = 250 * time.Millisecond
	startDelayMax = 2 * time.Second
)

// makeTopics is one attempt of prepareTopics.
func (p *Processor) makeTopics(ctx context.Context, admin *log.Admin, state *stateDir) error {
	g := p.topology.Graph()
	external, err := p.externalTopics(ctx, admin, g)
	if err != nil {
		return err
	}
	own, err := p.internalTopics(ctx, admin, g, external)
	if err != nil {
		return err
	}
	return state.checkTopics(g.Application, stateTopics(g, external, own))
}

// stateTopics returns the ids of the topics that offsets and state follow from: sources and changelogs.
func stateTopics(g *graph.Graph, external, own map[string]log.Topic) map[string][16]byte {
	ids := map[string][16]byte{}
	for _, sub := range g.SubTopologies {
		for _, source := range sub.Sources {
			if topic, ok := external[source.Topic.Name]; ok {
				ids[source.Topic.Name] = topic.ID
			}
		}
	}
	for name, topic := range own {
		ids[name] = topic.ID
	}
	return ids
}

// externalTopics creates or checks the topics that are not the application's own, and returns them by name.
func (p *Processor) externalTopics(ctx context.Context, admin *log.Admin, g *graph.Graph) (map[string]log.Topic, error) {
	wanted := map[string]*graph.Topic{}
	for _, node := range g.Nodes {
		if node.Topic == nil || node.Topic.Internal || node.Dynamic {
			continue
		}
		if have, ok := wanted[node.Topic.Name]; !ok || have.Partitions == 0 && node.Topic.Partitions != 0 {
			wanted[node.Topic.Name] = node.Topic
		}
	}
	found := map[string]log.Topic{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		spec := topicSpec(wanted[name], p.config)
		var topic log.Topic
		var err error
		if p.config.CreateTopics {
			topic, err = ensure(ctx, admin, spec, wanted[name].Partitions)
		} else {
			spec.Partitions = wanted[name].Partitions
			topic, err = admin.CheckTopic(ctx, spec)
		}
		if err != nil {
			errs = append(errs, err)
		}
		found[name] = topic
	}
	return found, errors.Join(errs...)
}

// ensure creates a topic with its default number of partitions; an existing one need only have the declared one.
func ensure(ctx context.Context, admin *log.Admin, spec log.TopicSpec, declared int32) (log.Topic, error) {
	existing := spec
	existing.Partitions = declared
	topic, err := admin.CheckTopic(ctx, existing)
	if !errors.Is(err, log.ErrTopicMissing) {
		return topic, err
	}
	return admin.EnsureTopic(ctx, spec)
}

func topicSpec(topic *graph.Topic, config Config) log.TopicSpec {
	spec := log.TopicSpec{Name: topic.Name, Partitions: topic.Partitions, Replication: config.Replication, Config: map[string]string{}}
	if spec.Partitions == 0 {
		spec.Partitions = config.Partitions
	}
	switch {
	case topic.Retention < 0:
		spec.Config["retention.ms"] = "-1"
		spec.Config["retention.bytes"] = "-1"
		spec.Config["cleanup.policy"] = "delete"
	case topic.Retention > 0:
		spec.Config["retention.ms"] = milliseconds(topic.Retention)
	}
	return spec
}

// internalTopics creates and checks repartition topics, changelogs and the dead-letter topic, and returns those that offsets
// and state follow from. A sub-topology has as many partitions as its sources; a repartition topic without a number of its own
// takes that of the sub-topology that writes it.
func (p *Processor) internalTopics(ctx context.Context, admin *log.Admin, g *graph.Graph, external map[string]log.Topic) (map[string]log.Topic, error) {
	existing := func(name string) (int32, bool) {
		topic, ok := external[name]
		return topic.Partitions, ok
	}
	partitions, err := g.CountPartitions(existing, p.config.Partitions)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", log.ErrPartitionMismatch, err)
	}
	own := map[string]log.Topic{}
	var errs []error
	create := func(spec log.TopicSpec) {
		spec.Replication = p.config.Replication
		topic, err := admin.EnsureTopic(ctx, spec)
		errs = append(errs, err)
		own[spec.Name] = topic
	}
	for _, node := range g.Nodes {
		if node.Kind == graph.Source && node.Topic.Internal {
			create(log.TopicSpec{Name: node.Topic.Name, Partitions: partitions[node.Topic.Name], Config: map[string]string{
				"retention.ms": "-1", "cleanup.policy": "delete",
			}})
		}
	}
	for _, sub := range g.SubTopologies {
		for _, store := range sub.Stores {
			if store.Changelog != "" {
				errs = append(errs, p.warnOfNewState(ctx, admin, sub, store))
				source := sub.Sources[0].Topic.Name
				spec := changelogSpec(store, partitions[source])
				spec.Source, spec.Application = source, g.Application
				create(spec)
			}
		}
	}
	errs = append(errs, p.deadLetterTopic(ctx, admin, g.DeadLetterTopic()))
	return own, errors.Join(errs...)
}

// warnOfNewState says that a store begins empty although its group has worked before. That is right for a store that was added
// to the topology, and loss where the changelog was deleted; only the operator can tell which.
func (p *Processor) warnOfNewState(ctx context.Context, admin *log.Admin, sub *graph.SubTopology, store *graph.Store) error {
	if _, err := admin.Describe(ctx, store.Changelog); !errors.Is(err, log.ErrTopicMissing) {
		return err
	}
	committed, err := admin.CommittedOffsets(ctx, sub.Group, false, sub.SourceTopics()...)
	if err != nil {
		return err
	}
	for _, partitions := range committed {
		for _, at := range partitions {
			if at.Offset > 0 {
				p.config.Logger.Warn("the store begins empty although its group has processed records before: its changelog does not exist. If the topic was deleted, stop and run 'tidemill reset'; if the store is new in the topology, all is well",
					"store", store.Name, "changelog", store.Changelog, "group", sub.Group)
				return nil
			}
		}
	}
	return nil
}

// deadLetterTopic creates the dead-letter topic, or takes it as somebody has made it.
func (p *Processor) deadLetterTopic(ctx context.Context, admin *log.Admin, name string) error {
	_, err := admin.CheckTopic(ctx, log.TopicSpec{Name: name})
	if !errors.Is(err, log.ErrTopicMissing) {
		return err
	}
	_, err = admin.EnsureTopic(ctx, log.TopicSpec{
		Name: name, Partitions: 1, Replication: p.config.Replication, Config: map[string]string{"retention.ms": "-1"},
	})
	return err
}

func changelogSpec(store *graph.Store, partitions int32) log.TopicSpec {
	config := map[string]string{"cleanup.policy": "compact", "delete.retention.ms": milliseconds(changelogTombstones)}
	if store.MinCompactionLag > 0 {
		config["min.compaction.lag.ms"] = milliseconds(store.MinCompactionLag)
	}
	return log.TopicSpec{Name: store.Changelog, Partitions: partitions, Config: config}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// EnsureTopics creates every topic that a topology needs, or checks those that exist: what Run does with CreateTopics. With
// AwaitBrokers it waits for brokers that cannot be reached, until ctx is done, and then returns why that is.
func EnsureTopics(ctx context.Context, t *topology.Topology, config Config) error {
	config.CreateTopics = true
	p := &Processor{topology: t, config: config.withDefaults()}
	admin, err := log.NewAdmin(p.config.Kafka)
	if err != nil {
		return err
	}
	defer admin.Close()
	try := func() error {
		external, err := p.externalTopics(ctx, admin, t.Graph())
		if err != nil {
			return err
		}
		_, err = p.internalTopics(ctx, admin, t.Graph(), external)
		return err
	}
	if p.config.AwaitBrokers {
		return p.awaitBrokers(ctx, try)
	}
	return try()
}
