package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	viewOldest = -2 // ListOffsets: the first offset that the log still has
	viewNewest = -1 // ListOffsets: the offset after the last record (of the isolation level asked for)

	viewReadUncommitted = 0
	viewReadCommitted   = 1
)

// viewTopic is what the cluster says about a topic.
type viewTopic struct {
	id         [16]byte
	partitions int
}

// viewDescribe asks for a topic's id and number of partitions. The error wraps ErrNoChangelog when there is no such topic.
func viewDescribe(ctx context.Context, client *kgo.Client, topic string) (viewTopic, error) {
	described, _, err := viewLeaders(ctx, client, topic)
	return described, err
}

// viewLeaders is viewDescribe with the partitions' leaders.
func viewLeaders(ctx context.Context, client *kgo.Client, topic string) (viewTopic, []int32, error) {
	ctx, cancel := context.WithTimeout(ctx, viewCallTimeout)
	defer cancel()
	request := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, wanted)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return viewTopic{}, nil, fmt.Errorf("asking for topic %s: %w", topic, err)
	}
	if len(response.Topics) != 1 {
		return viewTopic{}, nil, fmt.Errorf("asking for topic %s: the broker described %d topics", topic, len(response.Topics))
	}
	described := response.Topics[0]
	switch err := kerr.ErrorForCode(described.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return viewTopic{}, nil, fmt.Errorf("%w: %s; start the processor that writes it, which creates it, or correct the view's topic", ErrNoChangelog, topic)
	case err != nil:
		return viewTopic{}, nil, fmt.Errorf("asking for topic %s: %w", topic, err)
	case len(described.Partitions) == 0:
		return viewTopic{}, nil, fmt.Errorf("asking for topic %s: the broker named no partitions", topic)
	}
	leaders := make([]int32, len(described.Partitions))
	for _, p := range described.Partitions {
		if int(p.Partition) < len(leaders) {
			leaders[p.Partition] = p.Leader
		}
	}
	return viewTopic{id: described.TopicID, partitions: len(described.Partitions)}, leaders, nil
}

// viewOffsets asks for one offset of each of the given partitions.
func viewOffsets(ctx context.Context, client *kgo.Client, topic string, partitions []int32, timestamp int64, isolation int8) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, viewCallTimeout)
	defer cancel()
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	request.IsolationLevel = isolation
	wanted := kmsg.NewListOffsetsRequestTopic()
	wanted.Topic = topic
	for _, number := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp, p.CurrentLeaderEpoch = number, timestamp, -1
		wanted.Partitions = append(wanted.Partitions, p)
	}
	request.Topics = append(request.Topics, wanted)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("asking for offsets of %s: %w", topic, err)
	}
	offsets := make(map[int32]int64, len(partitions))
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("asking for an offset of %s/%d: %w", topic, p.Partition, err)
			}
			offsets[p.Partition] = p.Offset
		}
	}
	for _, number := range partitions {
		if _, found := offsets[number]; !found {
			return nil, fmt.Errorf("asking for an offset of %s/%d: the broker's answer leaves it out", topic, number)
		}
	}
	return offsets, nil
}

// viewTombstoneAge returns how old a local copy of the topic may be: its delete.retention.ms less a tenth. When the
// setting cannot be read it is taken for Kafka's default, one day.
func viewTombstoneAge(ctx context.Context, client *kgo.Client, topic string) time.Duration {
	const kafkaDefault = 24 * time.Hour
	less := func(d time.Duration) time.Duration { return d - d/10 }
	ctx, cancel := context.WithTimeout(ctx, viewCallTimeout)
	defer cancel()
	request := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.ConfigNames = []string{"delete.retention.ms"}
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return less(kafkaDefault)
	}
	for _, r := range response.Resources {
		for _, config := range r.Configs {
			if config.Name != "delete.retention.ms" || config.Value == nil {
				continue
			}
			if milliseconds, err := strconv.ParseInt(*config.Value, 10, 64); err == nil && milliseconds >= 0 && milliseconds < 1<<53 {
				return less(time.Duration(min(milliseconds, int64(10*365*24*time.Hour/time.Millisecond))) * time.Millisecond)
			}
		}
	}
	return less(kafkaDefault)
}

// viewCommitted asks for the committed offsets of a group, -1 where there is none. It does not ask for stable offsets:
// an offset that is pending in an open transaction is not in the answer either way, and a busy processor has one pending
// nearly always, which would be answered with an error for as long.
func viewCommitted(ctx context.Context, client *kgo.Client, group string, wanted map[string][]int32) (map[string]map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, viewCallTimeout)
	defer cancel()
	request := kmsg.NewPtrOffsetFetchRequest()
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	for topic, partitions := range wanted {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = topic, partitions
		asked.Topics = append(asked.Topics, t)
	}
	request.Groups = append(request.Groups, asked)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("asking for the offsets of group %s: %w", group, err)
	}
	if len(response.Groups) != 1 {
		return nil, fmt.Errorf("asking for the offsets of group %s: the broker answered for %d groups", group, len(response.Groups))
	}
	switch err := kerr.ErrorForCode(response.Groups[0].ErrorCode); {
	case errors.Is(err, kerr.GroupIDNotFound):
		return nil, nil // it has not committed yet
	case err != nil:
		return nil, fmt.Errorf("asking for the offsets of group %s: %w", group, err)
	}
	committed := make(map[string]map[int32]int64, len(wanted))
	for _, t := range response.Groups[0].Topics {
		committed[t.Topic] = make(map[int32]int64, len(t.Partitions))
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				committed[t.Topic][p.Partition] = p.Offset
			}
		}
	}
	return committed, nil
}

// viewRefused reports whether the broker refuses these credentials, which trying again does not change.
func viewRefused(err error) bool {
	for _, refusal := range []error{kerr.SaslAuthenticationFailed, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.UnsupportedSaslMechanism} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// viewTopicManager is what goka asks about topics. It creates none, and its newest offset is the last stable one: goka
// restores up to it, and nothing beyond it can be read.
type viewTopicManager struct{ session *viewSession }

// Partitions returns 0 to the topic's number of partitions less one.
func (m viewTopicManager) Partitions(string) ([]int32, error) {
	return viewNumbers(m.session.topic.partitions), nil
}

// GetOffset returns the oldest or the last stable offset, as the partition's last check before loading found it.
func (m viewTopicManager) GetOffset(_ string, number int32, time int64) (int64, error) {
	p := m.session.view.partition(number)
	switch {
	case p == nil:
		return 0, fmt.Errorf("partition %d does not exist", number)
	case time == sarama.OffsetOldest:
		return p.oldest, nil
	case time == sarama.OffsetNewest:
		return p.target.Load(), nil
	}
	return 0, fmt.Errorf("no offset is kept for time %d", time)
}

// EnsureTableExists refuses: a view creates no topics.
func (m viewTopicManager) EnsureTableExists(topic string, _ int) error { return m.refuse(topic) }

// EnsureStreamExists refuses: a view creates no topics.
func (m viewTopicManager) EnsureStreamExists(topic string, _ int) error { return m.refuse(topic) }

// EnsureTopicExists refuses: a view creates no topics.
func (m viewTopicManager) EnsureTopicExists(topic string, _, _ int, _ map[string]string) error {
	return m.refuse(topic)
}

func (m viewTopicManager) refuse(topic string) error {
	return fmt.Errorf("a view creates no topics, and was asked for %s", topic)
}

// Close does nothing: the session owns the client.
func (m viewTopicManager) Close() error { return nil }
