package bridge_test

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/recordbatch"
)

// restoring returns a processor that restores all of its state when it runs, what it will log, and its embedded broker.
func restoring(t *testing.T) (c *counting, b *broker.Broker, said *bytes.Buffer) {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	c = newCounting(t, kafkatest.At(b.Addr()), 1)
	stop := c.run()
	c.produce(20)
	c.counted()
	stop()
	if err := os.RemoveAll(c.config.Dir); err != nil {
		t.Fatal(err)
	}
	said = &bytes.Buffer{}
	c.config.Logger = slog.New(slog.NewTextHandler(said, nil))
	return c, b, said
}

// answerFetch has the next fetch of the changelog answered so.
func (c *counting) answerFetch(b *broker.Broker, fill func(*kmsg.FetchResponseTopicPartition)) {
	id := b.Cluster().TopicInfo(c.changelog()).TopicID
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		asked := request.(*kmsg.FetchRequest)
		if len(asked.Topics) != 1 || asked.Topics[0].TopicID != id {
			b.Cluster().KeepControl()
			return nil, nil, false
		}
		response := asked.ResponseKind().(*kmsg.FetchResponse)
		p, topic := kmsg.NewFetchResponseTopicPartition(), kmsg.NewFetchResponseTopic()
		fill(&p)
		topic.Topic, topic.TopicID, topic.Partitions = c.changelog(), id, []kmsg.FetchResponseTopicPartition{p}
		response.Topics = []kmsg.FetchResponseTopic{topic}
		return response, nil, true
	})
}

// TestRestoreOfWhatCannotBeRead: a restore says what it cannot read, instead of asking for it for ever.
func TestRestoreOfWhatCannotBeRead(t *testing.T) {
	c, b, said := restoring(t)
	c.answerFetch(b, func(p *kmsg.FetchResponseTopicPartition) {
		p.HighWatermark, p.LastStableOffset, p.RecordBatches = 10, 10, viewTestEmptyBatch(0, 10)
		p.RecordBatches[16] = 1 // the message format
	})
	stop := c.run()
	c.produce(20)
	c.counted()
	stop()
	if !strings.Contains(said.String(), recordbatch.ErrFormat.Error()) {
		t.Errorf("it says\n%s", said.String())
	}
}

// TestRestoreWithoutLeader: a restore waits for a changelog's leader, as long as there is none, and does not end the session.
func TestRestoreWithoutLeader(t *testing.T) {
	c, b, said := restoring(t)
	id := b.Cluster().TopicInfo(c.changelog()).TopicID
	var left atomic.Int32 // questions for the leader that find none; 0 before the first fetch
	c.answerFetch(b, func(p *kmsg.FetchResponseTopicPartition) {
		left.Store(3)
		p.ErrorCode = kerr.NotLeaderForPartition.Code
	})
	b.Cluster().ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		asked := request.(*kmsg.MetadataRequest)
		if len(asked.Topics) != 1 || asked.Topics[0].Topic == nil || *asked.Topics[0].Topic != c.changelog() || left.Add(-1) < 0 {
			return nil, nil, false
		}
		response := asked.ResponseKind().(*kmsg.MetadataResponse)
		p, topic := kmsg.NewMetadataResponseTopicPartition(), kmsg.NewMetadataResponseTopic()
		p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		topic.Topic, topic.TopicID, topic.Partitions = asked.Topics[0].Topic, id, []kmsg.MetadataResponseTopicPartition{p}
		response.Topics = []kmsg.MetadataResponseTopic{topic}
		for _, known := range b.Cluster().ListenAddrs() {
			host, port, _ := strings.Cut(known, ":")
			number, _ := strconv.ParseInt(port, 10, 32)
			at := kmsg.NewMetadataResponseBroker()
			at.Host, at.Port = host, int32(number)
			response.Brokers = append(response.Brokers, at)
		}
		return response, nil, true
	})
	stop := c.run()
	c.produce(20)
	c.counted()
	stop()
	if left.Load() > 0 {
		t.Errorf("the leader was not asked for")
	}
	if strings.Contains(said.String(), "the session has ended, rejoining") {
		t.Errorf("the session has ended:\n%s", said.String())
	}
}
