package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/task"
)

// batch is what goka's callback gets: records of one partition of a topic, in order. goka does its work for each message
// once a batch, and sees neither nulls nor undecodable values, on which it would stop.
type batch struct {
	partition int32
	records   []task.Record
}

// batchRecords is how many records a batch has at most.
const batchRecords = 256

var errNoBatch = errors.New("no batch under this handle")

// batches carries a batch through goka, whose messages have bytes for a value: the bytes are a handle.
type batches struct {
	mu   sync.Mutex
	last uint64            // guarded by mu
	open map[uint64]*batch // guarded by mu
}

func newBatches() *batches { return &batches{open: map[uint64]*batch{}} }

// put stores a batch and returns its handle.
func (b *batches) put(batch *batch) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.open[b.last] = batch
	return binary.BigEndian.AppendUint64(nil, b.last)
}

// Decode implements goka.Codec: it gives the batch out, once.
func (b *batches) Decode(handle []byte) (any, error) {
	if len(handle) != 8 {
		return nil, fmt.Errorf("%w: %x", errNoBatch, handle)
	}
	id := binary.BigEndian.Uint64(handle)
	b.mu.Lock()
	defer b.mu.Unlock()
	batch, ok := b.open[id]
	if !ok {
		return nil, fmt.Errorf("%w: %d", errNoBatch, id)
	}
	delete(b.open, id)
	return batch, nil
}

// Encode implements goka.Codec; nothing is ever emitted through goka.
func (b *batches) Encode(any) ([]byte, error) {
	return nil, errors.New("records are emitted by the commit protocol, not by goka")
}

// clear forgets what goka has dropped at the end of a session.
func (b *batches) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.open)
}

// appendRecord appends one consumed message.
func appendRecord(records []task.Record, message *sarama.ConsumerMessage) []task.Record {
	record := task.Record{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset, Key: message.Key, Value: message.Value,
	}
	if !message.Timestamp.IsZero() { // sarama's for none; 0 is ours
		record.Timestamp = message.Timestamp.UnixMilli()
	}
	if n := len(message.Headers); n > 0 {
		record.Headers = make([]graph.Header, n)
		for i, header := range message.Headers {
			record.Headers[i] = graph.Header{Key: string(header.Key), Value: header.Value}
		}
	}
	return append(records, record)
}
