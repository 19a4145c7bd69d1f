package task

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
)

// deadLetter returns the record for the dead-letter topic: the original's key, value and headers, and where it stood and
// why it could not be processed. It keeps the original's key, so that the letters of one key stay in order.
// What is too much for the log, limit bytes if that is above 0, is left out: the original is where it stood.
func deadLetter(application string, record Record, cause *graph.RecordError, limit int) graph.Output {
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
	text := cause.Err.Error()
	add(meta.DeadError, strings.ToValidUTF8(text[:min(len(text), maxErrorText)], ""))
	letter := graph.Output{
		Topic: graph.DeadLetterTopic(application), Partition: graph.PartitionByKey,
		Key: record.Key, Value: record.Value, Headers: headers, Timestamp: record.Timestamp,
	}
	if limit > 0 && recordSize(&letter) > limit {
		letter.Value = nil
		note := fmt.Sprintf(" (the value's %d bytes are too many for a dead letter; they are where the record stood)", len(record.Value))
		last := &headers[len(headers)-1]
		last.Value = append(last.Value, note...)
	}
	return letter
}

// maxErrorText bounds the text of an error in a dead letter, in bytes.
const maxErrorText = 4 << 10
