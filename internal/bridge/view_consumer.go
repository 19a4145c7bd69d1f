package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// viewBatchRecords and viewBatchBytes bound what is applied at once, so that a batch stays small in memory.
	viewBatchRecords = 8192
	viewBatchBytes   = 4 << 20
)

// viewConsumerOptions are what a view's reading depends on: committed records only, markers kept because they move the
// position, an offset out of range reported and never reset, and short waits for a broker that comes back.
func viewConsumerOptions(clientID string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ClientID(clientID),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.FetchMaxBytes(16 << 20),
		kgo.FetchMaxPartitionBytes(2 << 20),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(fails int) time.Duration {
			return min(20*time.Millisecond<<min(fails, 5), 500*time.Millisecond)
		}),
	}
}

// viewConsumer is a sarama.Consumer on franz-go. One goroutine, in run, owns the set of consumed partitions and polls;
// whatever changes the set is mailed to it, so that a record fetched for an earlier consumption of a partition cannot
// reach a later one. Each partition has a goroutine of its own between the poll and goka.
type viewConsumer struct {
	view   *View
	client *kgo.Client
	topic  string
	log    *slog.Logger

	mu   sync.Mutex
	mail []func()           // guarded by mu; for run's goroutine
	wake context.CancelFunc // guarded by mu; ends the poll in progress, if any

	sinks map[int32]*viewSink // owned by run's goroutine
	pumps sync.WaitGroup      // the partitions' goroutines
}

func newViewConsumer(v *View, client *kgo.Client) *viewConsumer {
	return &viewConsumer{view: v, client: client, topic: v.config.Topic, log: v.log, sinks: make(map[int32]*viewSink)}
}

// run polls until ctx ends, then waits for the partitions' goroutines.
func (c *viewConsumer) run(ctx context.Context) {
	defer c.pumps.Wait()
	defer func() {
		for _, sink := range c.sinks {
			sink.AsyncClose()
		}
	}()
	for ctx.Err() == nil {
		fetches := c.client.PollFetches(c.arm(ctx))
		c.disarm()
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachTopic(func(topic kgo.FetchTopic) {
			if topic.Topic == c.topic {
				for i := range topic.Partitions {
					c.deliver(ctx, &topic.Partitions[i])
				}
			}
		})
	}
	c.disarm()
}

// arm reads the mail and returns a context that ends when there is more.
func (c *viewConsumer) arm(ctx context.Context) context.Context {
	for {
		c.mu.Lock()
		mail := c.mail
		c.mail = nil
		if len(mail) == 0 {
			poll, cancel := context.WithCancel(ctx)
			c.wake = cancel
			c.mu.Unlock()
			return poll
		}
		c.mu.Unlock()
		for _, read := range mail {
			read()
		}
	}
}

func (c *viewConsumer) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake != nil {
		c.wake()
		c.wake = nil
	}
}

// post has run's goroutine call f before it polls again. It never blocks.
func (c *viewConsumer) post(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mail = append(c.mail, f)
	if c.wake != nil {
		c.wake()
	}
}

// deliver hands what was fetched of one partition to its goroutine.
func (c *viewConsumer) deliver(ctx context.Context, fetched *kgo.FetchPartition) {
	sink := c.sinks[fetched.Partition]
	if sink == nil {
		return
	}
	if len(fetched.Records) > 0 {
		sink.partition.observe(fetched.LastStableOffset)
	}
	records := fetched.Records
	for len(records) > 0 && records[0].Offset < sink.next {
		records = records[1:]
	}
	for len(records) > 0 {
		count, size := 0, 0
		for count < len(records) && count < viewBatchRecords && size < viewBatchBytes {
			size += len(records[count].Key) + len(records[count].Value)
			count++
		}
		sink.push(ctx, &viewBatch{records: records[:count:count], next: records[count-1].Offset + 1})
		records = records[count:]
	}
	if fetched.Err != nil && !errors.Is(fetched.Err, context.Canceled) {
		sink.fail(fetched.Err)
	}
}

// ConsumePartition begins to consume a partition from an offset.
func (c *viewConsumer) ConsumePartition(topic string, number int32, offset int64) (sarama.PartitionConsumer, error) {
	p := c.view.partition(number)
	if topic != c.topic || p == nil || offset < 0 {
		return nil, fmt.Errorf("there is no %s/%d from offset %d to consume", topic, number, offset)
	}
	sink := &viewSink{
		consumer: c, partition: p, next: offset,
		queue:    make(chan *viewBatch, 2),
		taken:    make(chan *viewBatch, 1),
		messages: make(chan *sarama.ConsumerMessage),
		errors:   make(chan *sarama.ConsumerError, 1),
		closing:  make(chan struct{}),
	}
	p.sink = sink
	c.pumps.Add(1)
	go sink.pump()
	c.post(func() {
		if earlier := c.sinks[number]; earlier != nil {
			earlier.AsyncClose()
			c.remove(earlier)
		}
		c.sinks[number] = sink
		c.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {number: kgo.NewOffset().At(offset)}})
	})
	return sink, nil
}

// remove stops fetching a sink's partition, unless it has another sink by now. Only run's goroutine calls it.
func (c *viewConsumer) remove(sink *viewSink) {
	if c.sinks[sink.partition.number] == sink {
		delete(c.sinks, sink.partition.number)
		c.client.RemoveConsumePartitions(map[string][]int32{c.topic: {sink.partition.number}})
	}
}

// inject hands a batch to the sink of a partition if nothing arrived since the offset from was next.
func (c *viewConsumer) inject(ctx context.Context, number int32, from int64, batch *viewBatch) {
	c.post(func() {
		if sink := c.sinks[number]; sink != nil && sink.next == from {
			sink.push(ctx, batch)
		}
	})
}

// fail reports an error to whoever consumes a partition.
func (c *viewConsumer) fail(number int32, err error) {
	c.post(func() {
		if sink := c.sinks[number]; sink != nil {
			sink.fail(err)
		}
	})
}

// Topics returns the one topic that a view's consumer has.
func (c *viewConsumer) Topics() ([]string, error) { return []string{c.topic}, nil }

// Partitions returns the numbers of the topic's partitions.
func (c *viewConsumer) Partitions(string) ([]int32, error) {
	return viewNumbers(int(c.view.Partitions())), nil
}

// HighWaterMarks returns the last stable offsets: for a reader of committed records the log ends there.
func (c *viewConsumer) HighWaterMarks() map[string]map[int32]int64 {
	marks := make(map[int32]int64)
	for _, p := range *c.view.partitions.Load() {
		marks[p.number] = p.stable.Load()
	}
	return map[string]map[int32]int64{c.topic: marks}
}

// Close does nothing: the session ends run, and waits for it.
func (c *viewConsumer) Close() error { return nil }

// Pause suspends fetching of the given partitions.
func (c *viewConsumer) Pause(partitions map[string][]int32) {
	c.client.PauseFetchPartitions(partitions)
}

// Resume resumes fetching of the given partitions.
func (c *viewConsumer) Resume(partitions map[string][]int32) {
	c.client.ResumeFetchPartitions(partitions)
}

// PauseAll suspends fetching.
func (c *viewConsumer) PauseAll() { c.client.PauseFetchTopics(c.topic) }

// ResumeAll resumes fetching.
func (c *viewConsumer) ResumeAll() { c.client.ResumeFetchTopics(c.topic) }

// viewSink is the sarama.PartitionConsumer of one partition. A batch goes from the queue to taken, and a message that
// stands for it to goka, whose update callback then takes the batch.
type viewSink struct {
	consumer  *viewConsumer
	partition *viewPartition
	next      int64 // the next offset to queue; owned by the consumer's run goroutine

	queue    chan *viewBatch
	taken    chan *viewBatch
	messages chan *sarama.ConsumerMessage
	closing  chan struct{} // closed by AsyncClose
	once     sync.Once     // closes closing

	mu     sync.Mutex // guards the sending on and the closing of errors
	closed bool       // guarded by mu
	errors chan *sarama.ConsumerError
}

// push queues a batch. It waits while the queue is full, which holds up the polling of all partitions: they share one
// disk, so that reading further ahead would only take memory.
func (s *viewSink) push(ctx context.Context, batch *viewBatch) {
	s.next = batch.next
	select {
	case s.queue <- batch:
	case <-s.closing:
	case <-ctx.Done():
	}
}

// pump turns queued batches into messages until the sink is closed.
func (s *viewSink) pump() {
	defer s.consumer.pumps.Done()
	defer func() {
		close(s.messages)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		close(s.errors)
	}()
	for {
		var batch *viewBatch
		select {
		case batch = <-s.queue:
		case <-s.closing:
			return
		}
		select {
		case s.taken <- batch:
		case <-s.closing:
			return
		}
		message := &sarama.ConsumerMessage{Topic: s.consumer.topic, Partition: s.partition.number, Offset: batch.next - 1}
		select {
		case s.messages <- message:
		case <-s.closing:
			return
		}
	}
}

// take returns the batch of the message that goka has just received, or nil.
func (s *viewSink) take() *viewBatch {
	select {
	case batch := <-s.taken:
		return batch
	default:
		return nil
	}
}

// fail passes an error to goka, which then loads the partition again. Further errors add nothing and are dropped.
func (s *viewSink) fail(err error) {
	s.consumer.log.Warn("reading the changelog failed; the partition is loaded again", "partition", s.partition.number, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.errors <- &sarama.ConsumerError{Topic: s.consumer.topic, Partition: s.partition.number, Err: err}:
	default:
	}
}

// AsyncClose ends the consumption; Messages and Errors are closed soon after.
func (s *viewSink) AsyncClose() {
	s.once.Do(func() {
		close(s.closing)
		s.consumer.post(func() { s.consumer.remove(s) })
	})
}

// Close ends the consumption and waits for it.
func (s *viewSink) Close() error {
	s.AsyncClose()
	for range s.messages {
		s.take()
	}
	var failures []error
	for err := range s.errors {
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// Messages returns the channel of messages, one for each batch.
func (s *viewSink) Messages() <-chan *sarama.ConsumerMessage { return s.messages }

// Errors returns the channel of what went wrong.
func (s *viewSink) Errors() <-chan *sarama.ConsumerError { return s.errors }

// HighWaterMarkOffset returns the last stable offset as last seen.
func (s *viewSink) HighWaterMarkOffset() int64 { return s.partition.stable.Load() }

// Pause suspends fetching of the partition.
func (s *viewSink) Pause() { s.consumer.Pause(s.itself()) }

// Resume resumes fetching of the partition.
func (s *viewSink) Resume() { s.consumer.Resume(s.itself()) }

// IsPaused reports whether fetching of the partition is suspended.
func (s *viewSink) IsPaused() bool {
	paused := s.consumer.client.PauseFetchPartitions(nil)
	return slices.Contains(paused[s.consumer.topic], s.partition.number)
}

func (s *viewSink) itself() map[string][]int32 {
	return map[string][]int32{s.consumer.topic: {s.partition.number}}
}

// viewNumbers returns 0 to count-1.
func viewNumbers(count int) []int32 {
	numbers := make([]int32, count)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	return numbers
}
