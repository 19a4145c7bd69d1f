package bridge

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// viewFetchBytes bounds the answer to a fetch by hand, but for a single batch that is larger.
const viewFetchBytes = 1 << 20

// viewSource is a partition to fetch from by hand.
type viewSource struct {
	topic  string
	id     [16]byte
	number int32
	leader int32
}

// changelog returns where a partition of the changelog is.
func (s *viewSession) changelog(number int32) (viewSource, error) {
	topic := s.view.config.Topic
	leader, _, err := s.client.PartitionLeader(topic, number)
	if err != nil {
		return viewSource{}, fmt.Errorf("finding the leader of %s/%d: %w", topic, number, err)
	}
	return viewSource{topic: topic, id: s.topic.id, number: number, leader: leader}, nil
}

// viewFetch fetches committed records and markers by hand at a position. It returns what the broker answered, the offset
// after it, and whether the answer held not even a part of a batch.
func viewFetch(ctx context.Context, client *kgo.Client, from viewSource, position int64) (fetched kgo.FetchPartition, next int64, empty bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, viewCallTimeout)
	defer cancel()
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = from.number, position, viewFetchBytes, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = from.topic, from.id, []kmsg.FetchRequestTopicPartition{p}
	request := kmsg.NewPtrFetchRequest()
	request.MaxBytes, request.IsolationLevel, request.SessionEpoch = viewFetchBytes, viewReadCommitted, -1
	request.Topics = []kmsg.FetchRequestTopic{t}
	answer, err := client.Broker(int(from.leader)).RetriableRequest(ctx, request)
	if err != nil {
		return fetched, 0, false, fmt.Errorf("fetching %s/%d at %d: %w", from.topic, from.number, position, err)
	}
	response := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return fetched, 0, false, fmt.Errorf("fetching %s/%d at %d: %w", from.topic, from.number, position, err)
	}
	for _, t := range response.Topics {
		for i := range t.Partitions {
			if t.Partitions[i].Partition != from.number {
				continue
			}
			fetched, next = kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
				KeepControlRecords: true, Offset: position, IsolationLevel: kgo.ReadCommitted(), Topic: from.topic, Partition: from.number,
			}, &t.Partitions[i], kgo.DefaultDecompressor(), nil)
			if fetched.Err != nil {
				return fetched, 0, false, fmt.Errorf("fetching %s/%d at %d: %w", from.topic, from.number, position, fetched.Err)
			}
			return fetched, next, len(t.Partitions[i].RecordBatches) == 0, nil
		}
	}
	return fetched, 0, false, fmt.Errorf("fetching %s/%d at %d: the broker's answer leaves it out", from.topic, from.number, position)
}

// viewRead fetches committed records and markers from a position on, and returns the offset after them: the position
// itself if the broker has nothing there.
func viewRead(ctx context.Context, client *kgo.Client, from viewSource, position int64) (records []*kgo.Record, next int64, err error) {
	fetched, next, _, err := viewFetch(ctx, client, from, position)
	if err != nil {
		return nil, 0, err
	}
	for len(fetched.Records) > 0 && fetched.Records[0].Offset < position {
		fetched.Records = fetched.Records[1:]
	}
	return fetched.Records, max(next, position), nil
}
