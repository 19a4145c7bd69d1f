package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TopicSpec is the topic that is wanted.
type TopicSpec struct {
	// Name is the topic's name.
	Name string
	// Partitions is how many partitions it must have; 0 takes the broker's
	// default on creation and any number on an existing topic.
	Partitions int32
	// Replication is how many replicas a new topic gets; 0 takes the broker's
	// default. An existing topic's replication is not checked.
	Replication int16
	// Config holds the settings it must have, by Kafka's names.
	Config map[string]string
	// Source is, for a changelog, the topic that it must have as many partitions
	// as: each partition of the one holds the state of that of the other.
	Source string
	// Application is, with Source, whose state that is.
	Application string
}

// Topic is a topic as it is.
type Topic struct {
	// Name is the topic's name.
	Name string
	// ID tells a topic from another of the same name before or after it. It is
	// zero on brokers before Kafka 2.8.
	ID [16]byte
	// Partitions is the number of partitions, numbered from 0.
	Partitions int32
	// Replication is the number of replicas of partition 0.
	Replication int16
	// Config holds every setting, defaults included; a sensitive one is empty.
	Config map[string]string
}

// Topics returns the names of all topics that are not the broker's own, sorted.
func (a *Admin) Topics(ctx context.Context) ([]string, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all of them
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return nil, a.explain("listing topics", err)
	}
	var names []string
	for _, t := range resp.Topics {
		if t.Topic != nil && !t.IsInternal {
			names = append(names, *t.Topic)
		}
	}
	sort.Strings(names)
	return names, nil
}

// Describe returns a topic with its settings, or ErrTopicMissing.
func (a *Admin) Describe(ctx context.Context, name string) (Topic, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	t, err := a.describe(ctx, name)
	return t, a.explain("describing topic "+name, err)
}

func (a *Admin) describe(ctx context.Context, name string) (Topic, error) {
	t, _, err := a.metadata(ctx, name)
	if err != nil {
		return Topic{}, err
	}
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, name
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = append(req.Resources, res)
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return Topic{}, err
	}
	t.Config = make(map[string]string)
	for _, r := range resp.Resources {
		if err := code(r.ErrorCode, r.ErrorMessage); err != nil {
			return Topic{}, err
		}
		for _, c := range r.Configs {
			if c.Value != nil {
				t.Config[c.Name] = *c.Value
			}
		}
	}
	return t, nil
}

// metadata returns a topic without its settings, and whether every partition
// has a leader.
func (a *Admin) metadata(ctx context.Context, name string) (t Topic, led bool, err error) {
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(name)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, rt)
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return Topic{}, false, err
	}
	if len(resp.Topics) != 1 {
		return Topic{}, false, fmt.Errorf("%d topics in the answer about one", len(resp.Topics))
	}
	got := resp.Topics[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil && !errors.Is(err, kerr.LeaderNotAvailable) {
		return Topic{}, false, err
	}
	t = Topic{Name: name, ID: got.TopicID, Partitions: int32(len(got.Partitions))}
	led = len(got.Partitions) > 0
	for _, p := range got.Partitions {
		led = led && p.Leader >= 0 && p.ErrorCode == 0
		if p.Partition == 0 {
			t.Replication = int16(len(p.Replicas))
		}
	}
	return t, led, nil
}

// EnsureTopic creates the topic if it is missing, waits until it has leaders,
// and checks it: see CheckTopic.
func (a *Admin) EnsureTopic(ctx context.Context, spec TopicSpec) (Topic, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if _, led, err := a.metadata(ctx, spec.Name); err != nil || !led {
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return Topic{}, a.explain("looking for topic "+spec.Name, err)
		}
		if err != nil {
			if err := a.create(ctx, spec); err != nil {
				return Topic{}, a.explain("creating topic "+spec.Name, err)
			}
		}
		if err := a.awaitLeaders(ctx, spec.Name); err != nil {
			return Topic{}, a.explain("waiting for the leaders of topic "+spec.Name, err)
		}
	}
	return a.check(ctx, spec)
}

// CheckTopic returns the topic if it is as wanted. ErrTopicMissing,
// ErrPartitionMismatch and ErrTopicConfig say what was found, what is wanted,
// and the command that puts it right; several can be joined.
func (a *Admin) CheckTopic(ctx context.Context, spec TopicSpec) (Topic, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	return a.check(ctx, spec)
}

func (a *Admin) create(ctx context.Context, spec TopicSpec) error {
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = spec.Name, spec.Partitions, spec.Replication
	if topic.NumPartitions == 0 {
		topic.NumPartitions = -1
	}
	if topic.ReplicationFactor == 0 {
		topic.ReplicationFactor = -1
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Config)) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, kmsg.StringPtr(spec.Config[k])
		topic.Configs = append(topic.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(a.cfg.RequestTimeout.Milliseconds())
	req.Topics = append(req.Topics, topic)
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := code(t.ErrorCode, t.ErrorMessage); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
	}
	return nil
}

func (a *Admin) awaitLeaders(ctx context.Context, name string) error {
	errNoLeader := kerr.LeaderNotAvailable
	passing := anyOf(errNoLeader, kerr.UnknownTopicOrPartition)
	return retry(ctx, passing, func() error {
		_, led, err := a.metadata(ctx, name)
		if err == nil && !led {
			err = errNoLeader
		}
		return err
	})
}

func (a *Admin) check(ctx context.Context, spec TopicSpec) (Topic, error) {
	t, err := a.describe(ctx, spec.Name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return Topic{}, fmt.Errorf("%w: %s: create it with\n  %s", ErrTopicMissing, spec.Name, a.createCommand(spec))
	}
	if err != nil {
		return Topic{}, a.explain("describing topic "+spec.Name, err)
	}
	var wrong []error
	if spec.Partitions > 0 && t.Partitions != spec.Partitions {
		wrong = append(wrong, a.partitionMismatch(t, spec))
	}
	var found, wanted []string
	for _, k := range slices.Sorted(maps.Keys(spec.Config)) {
		if have, want := t.Config[k], spec.Config[k]; !sameSetting(have, want) {
			found = append(found, k+"="+have)
			if strings.Contains(want, ",") {
				want = "[" + want + "]"
			}
			wanted = append(wanted, k+"="+want)
		}
	}
	if len(wanted) > 0 {
		settings := strings.Join(wanted, ",")
		wrong = append(wrong, fmt.Errorf("%w: topic %s has %s, wanted is %s: set it with\n  kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config '%s'",
			ErrTopicConfig, t.Name, strings.Join(found, ","), settings, a.bootstrap(), t.Name, settings))
	}
	return t, errors.Join(wrong...)
}

// partitionMismatch says what to do about another number of partitions. A changelog is never to be deleted for that: it is
// the state of all that its group's offsets say has been processed.
func (a *Admin) partitionMismatch(t Topic, spec TopicSpec) error {
	if spec.Source != "" {
		return fmt.Errorf("%w: topic %s has %d partitions, %d are wanted, as many as its source %s has: the number of partitions of %s has changed, and keys are on other partitions than their state; write to a new topic with %d partitions instead, or run 'tidemill reset %s', after which everything is processed again (do not delete %s alone: that loses the state)",
			ErrPartitionMismatch, t.Name, t.Partitions, spec.Partitions, spec.Source, spec.Source, t.Partitions, spec.Application, t.Name)
	}
	return fmt.Errorf("%w: topic %s has %d partitions, %d are wanted: configure %d, or, where the topic's records may be lost, delete it with\n  kafka-topics.sh --bootstrap-server %s --delete --topic %s\nand start again (adding partitions would send keys to other partitions than before)",
		ErrPartitionMismatch, t.Name, t.Partitions, spec.Partitions, t.Partitions, a.bootstrap(), t.Name)
}

// sameSetting compares lists without their order and numbers by value.
func sameSetting(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return x == y
	}
	list := func(s string) []string {
		items := strings.Split(strings.ReplaceAll(s, " ", ""), ",")
		sort.Strings(items)
		return items
	}
	return slices.Equal(list(a), list(b))
}

func (a *Admin) bootstrap() string { return strings.Join(a.cfg.Brokers, ",") }

func (a *Admin) createCommand(spec TopicSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kafka-topics.sh --bootstrap-server %s --create --topic %s", a.bootstrap(), spec.Name)
	if spec.Partitions > 0 {
		fmt.Fprintf(&b, " --partitions %d", spec.Partitions)
	}
	if spec.Replication > 0 {
		fmt.Fprintf(&b, " --replication-factor %d", spec.Replication)
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Config)) {
		fmt.Fprintf(&b, " --config %s=%s", k, spec.Config[k])
	}
	return b.String()
}

// DeleteTopics deletes topics and waits until they are gone; one that is missing
// is no error.
func (a *Admin) DeleteTopics(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(a.cfg.RequestTimeout.Milliseconds())
	for _, n := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics, req.TopicNames = append(req.Topics, t), append(req.TopicNames, n)
	}
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return a.explain("deleting topics", err)
	}
	var errs []error
	for i, t := range resp.Topics {
		if err := code(t.ErrorCode, t.ErrorMessage); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			errs = append(errs, a.explain("deleting topic "+names[i], err))
		}
	}
	for _, n := range names {
		if len(errs) > 0 {
			break
		}
		errs = append(errs, a.awaitGone(ctx, n))
	}
	return errors.Join(errs...)
}

func (a *Admin) awaitGone(ctx context.Context, name string) error {
	for {
		_, _, err := a.metadata(ctx, name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if err != nil {
			return a.explain("waiting for the end of topic "+name, err)
		}
		select {
		case <-ctx.Done():
			return a.explain("waiting for the end of topic "+name, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
