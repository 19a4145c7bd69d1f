package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/log"
)

// pollMost bounds the records of one poll, and so the size of one batch of the index.
const pollMost = 5000

// Kafka is the Log behind a franz-go client.
type Kafka struct {
	client *kgo.Client
	opts   []kgo.Opt
}

// NewKafka connects, lazily, with the given options. Close it when done.
func NewKafka(opts []kgo.Opt) (*Kafka, error) {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("configuring the client of the log: %w", err)
	}
	return &Kafka{client: client, opts: opts}, nil
}

// Close ends the connections. Readers are closed on their own.
func (k *Kafka) Close() { k.client.Close() }

// Topics implements Log.
func (k *Kafka) Topics(ctx context.Context, names []string) (map[string]Topic, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, k.client)
	if err != nil {
		return nil, err
	}
	topics := make(map[string]Topic, len(names))
	for i := range response.Topics {
		topic := &response.Topics[i]
		err := kerr.ErrorForCode(topic.ErrorCode)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if err != nil || topic.Topic == nil {
			return nil, fmt.Errorf("topic %s: %w", kmsgName(topic.Topic), err)
		}
		topics[*topic.Topic] = Topic{ID: topic.TopicID, Partitions: int32(len(topic.Partitions))}
	}
	return topics, nil
}

func kmsgName(name *string) string {
	if name == nil {
		return "(unnamed)"
	}
	return *name
}

// Offsets implements Log.
func (k *Kafka) Offsets(ctx context.Context, at Bound, topics map[string]Topic) (Positions, error) {
	timestamp := int64(-1)
	if at.IsStart() {
		timestamp = -2
	} else if milliseconds, ok := at.Time(); ok {
		timestamp = max(milliseconds, 0)
	}
	positions, _, err := k.list(ctx, timestamp, topics)
	if err != nil || timestamp < 0 {
		return positions, err
	}
	ends, _, err := k.list(ctx, -1, topics)
	if err != nil {
		return nil, err
	}
	for partition, offset := range positions {
		if offset < 0 { // nothing that young
			positions[partition] = ends[partition]
		}
	}
	return positions, nil
}

// Newest implements Log (KIP-734).
func (k *Kafka) Newest(ctx context.Context, name string, topic Topic) (int64, bool, error) {
	_, newest, err := k.list(ctx, -3, map[string]Topic{name: topic})
	return newest, newest >= 0, err
}

// list asks for offsets at a timestamp, read uncommitted, and for the highest timestamp among the answers.
func (k *Kafka) list(ctx context.Context, timestamp int64, topics map[string]Topic) (Positions, int64, error) {
	positions, newest := Positions{}, int64(-1)
	if len(topics) == 0 {
		return positions, newest, nil
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	for name, topic := range topics {
		asked := kmsg.NewListOffsetsRequestTopic()
		asked.Topic = name
		for partition := range topic.Partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
			asked.Partitions = append(asked.Partitions, p)
		}
		request.Topics = append(request.Topics, asked)
	}
	response, err := request.RequestWith(ctx, k.client)
	if err != nil {
		return nil, newest, err
	}
	for i := range response.Topics {
		topic := &response.Topics[i]
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, newest, fmt.Errorf("offsets of %s/%d: %w", topic.Topic, p.Partition, err)
			}
			positions[Partition{topic.Topic, p.Partition}] = p.Offset
			newest = max(newest, p.Timestamp)
		}
	}
	for name, topic := range topics {
		for partition := range topic.Partitions {
			if _, ok := positions[Partition{name, partition}]; !ok {
				return nil, newest, fmt.Errorf("offsets of %s/%d: %w", name, partition, kerr.UnknownTopicOrPartition)
			}
		}
	}
	return positions, newest, nil
}

// Committed implements Log. It does not ask for stable offsets: an offset that a transaction has pending is not
// returned until it commits, and waiting for that would only delay what is already certain.
func (k *Kafka) Committed(ctx context.Context, group, topic string) (map[int32]int64, error) {
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group = group
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	request.Groups = append(request.Groups, asked)
	response, err := request.RequestWith(ctx, k.client)
	if err != nil {
		return nil, err
	}
	if err := groupError(response.ErrorCode); err != nil {
		return nil, err
	}
	committed := make(map[int32]int64)
	take := func(name string, partition int32, offset int64, code int16) error {
		if err := kerr.ErrorForCode(code); err != nil {
			return err
		}
		if name == topic && offset >= 0 {
			committed[partition] = offset
		}
		return nil
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := take(t.Topic, p.Partition, p.Offset, p.ErrorCode); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range response.Groups {
		if err := groupError(g.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := take(t.Topic, p.Partition, p.Offset, p.ErrorCode); err != nil {
					return nil, err
				}
			}
		}
	}
	return committed, nil
}

// groupError is the error of an answer about a group. A group that is not there, which some brokers call an error and
// others answer with nothing, has committed nothing.
func groupError(code int16) error {
	if err := kerr.ErrorForCode(code); !errors.Is(err, kerr.GroupIDNotFound) {
		return err
	}
	return nil
}

// Open implements Log.
func (k *Kafka) Open(start Positions) (Reader, error) {
	offsets := make(map[string]map[int32]kgo.Offset)
	for partition, offset := range start {
		if offsets[partition.Topic] == nil {
			offsets[partition.Topic] = make(map[int32]kgo.Offset)
		}
		offsets[partition.Topic][partition.Partition] = kgo.NewOffset().At(offset)
	}
	leaving, leave := log.Leaving()
	opts := append(append([]kgo.Opt(nil), k.opts...),
		leaving,
		kgo.ConsumePartitions(offsets),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // out of range is an error: the index has to know
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they carry the position over the end of a transaction
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxPartitionBytes(1<<20),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		leave(nil)
		return nil, err
	}
	return &kafkaReader{client: client, leave: leave}, nil
}

type kafkaReader struct {
	client *kgo.Client
	leave  func(*kgo.Client)
}

// Close implements Reader.
func (r *kafkaReader) Close() { r.leave(r.client) }

// Poll implements Reader. What the client retries by itself (a broker that is away) is no error here.
func (r *kafkaReader) Poll(ctx context.Context, records []Record) ([]Record, error) {
	fetches := r.client.PollRecords(ctx, pollMost)
	if ctx.Err() != nil {
		return records, ctx.Err()
	}
	var failed error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		for _, record := range p.Records {
			records = append(records, fromKgo(record))
		}
		if p.Err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, p.Err))
		}
	})
	return records, failed
}

func fromKgo(record *kgo.Record) Record {
	r := Record{
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
		Timestamp: record.Timestamp.UnixMilli(), Key: record.Key, Value: record.Value, Control: record.Attrs.IsControl(),
	}
	if len(record.Headers) > 0 {
		r.Headers = make([]Header, len(record.Headers))
		for i, header := range record.Headers {
			r.Headers[i] = Header(header)
		}
	}
	return r
}
