package task

import (
	"strconv"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
)

// deadLetter returns the record for the dead-letter topic: the original's key, value and headers, and where it stood and
// why it could not be processed. It keeps the original's key, so that the letters of one key stay in order.
func deadLetter(application string, record Record, cause *graph.RecordError) graph.Output {
	headers := make([]graph.Header, 0, len(record.Headers)+7)
	headers = append(headers, record.Headers...)
	add := func(key, value string) {
		headers = append(headers, graph.Header{Key: key, Value: []byte(value)})
	}
	add(meta.DeadTopic, record.Topic)
	add(meta.DeadPartition, strconv.FormatInt(int64(record.Partition), 10))
	add(meta.DeadOffset, strconv.FormatInt(record.Offset, 10))
	add(meta.DeadTimestamp, strconv.FormatInt(record.Timestamp, 10))
	add(meta.DeadKind, string(cause.Cause))
	add(meta.DeadNode, cause.Node)
	add(meta.DeadError, cause.Err.Error())
	return graph.Output{
		Topic: graph.DeadLetterTopic(application), Partition: graph.PartitionByKey,
		Key: record.Key, Value: record.Value, Headers: headers, Timestamp: record.Timestamp,
	}
}
