package bridge

import (
	"errors"
	"fmt"
	"hash"
	"log/slog"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// errUnused is returned by the seams that goka has no use for in our hands.
var errUnused = errors.New("goka must not use this seam")

// unusedProducer is goka's producer: outputs go through the commit protocol.
type unusedProducer struct{}

func (unusedProducer) Emit(string, string, []byte) *goka.Promise { return refuse() }

func (unusedProducer) EmitWithHeaders(string, string, []byte, goka.Headers) *goka.Promise {
	return refuse()
}

func (unusedProducer) Close() error { return nil }

func refuse() *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	finish(nil, errUnused)
	return promise
}

func unusedProducerBuilder([]string, string, func() hash.Hash32) (goka.Producer, error) {
	return unusedProducer{}, nil
}

// unusedConsumer is goka's consumer for tables: restore is our own, so there are none to read.
type unusedConsumer struct{}

func (unusedConsumer) Topics() ([]string, error)                  { return nil, errUnused }
func (unusedConsumer) Partitions(string) ([]int32, error)         { return nil, errUnused }
func (unusedConsumer) HighWaterMarks() map[string]map[int32]int64 { return nil }
func (unusedConsumer) Close() error                               { return nil }
func (unusedConsumer) Pause(map[string][]int32)                   {}
func (unusedConsumer) Resume(map[string][]int32)                  {}
func (unusedConsumer) PauseAll()                                  {}
func (unusedConsumer) ResumeAll()                                 {}
func (unusedConsumer) ConsumePartition(string, int32, int64) (sarama.PartitionConsumer, error) {
	return nil, errUnused
}

func unusedConsumerBuilder([]string, string) (sarama.Consumer, error) { return unusedConsumer{}, nil }

// topicManager answers goka's questions about topics with what was found before, the partitions of each source. It creates
// nothing: the topics were made and checked before.
type topicManager map[string]int32

func (topicManager) EnsureTableExists(string, int) error  { return nil }
func (topicManager) EnsureStreamExists(string, int) error { return nil }
func (topicManager) EnsureTopicExists(string, int, int, map[string]string) error {
	return nil
}
func (topicManager) GetOffset(string, int32, int64) (int64, error) { return 0, errUnused }
func (topicManager) Close() error                                  { return nil }

// Partitions implements goka.TopicManager.
func (t topicManager) Partitions(topic string) ([]int32, error) {
	partitions := make([]int32, t[topic])
	for i := range partitions {
		partitions[i] = int32(i)
	}
	return partitions, nil
}

// gokaLogger passes goka's lines on at debug level: what matters is logged by this package.
type gokaLogger struct{ logger *slog.Logger }

func (g gokaLogger) Print(v ...any)   { g.logger.Debug(fmt.Sprint(v...), "from", "goka") }
func (g gokaLogger) Println(v ...any) { g.logger.Debug(fmt.Sprint(v...), "from", "goka") }
func (g gokaLogger) Printf(format string, v ...any) {
	g.logger.Debug(fmt.Sprintf(format, v...), "from", "goka")
}
