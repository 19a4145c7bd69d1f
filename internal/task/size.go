package task

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/internal/graph"
)

// ErrTooLarge says that a record is larger than the log takes.
var ErrTooLarge = errors.New("the record is too large")

// The bytes of a record beside its key, value and headers, at most.
const (
	recordOverhead = 128
	headerOverhead = 16
)

func recordSize(o *graph.Output) int {
	size := recordOverhead + len(o.Topic) + len(o.Key) + len(o.Value)
	for i := range o.Headers {
		size += headerOverhead + len(o.Headers[i].Key) + len(o.Headers[i].Value)
	}
	return size
}

// checkSizes looks at what was written since the mark: a record that the log will not take would hold up its partition for
// ever.
func (t *Task) checkSizes(m mark) error {
	if t.config.MaxRecordBytes <= 0 {
		return nil
	}
	for _, list := range [][]graph.Output{t.upper.Outputs[m.outputs:], t.upper.Changelog[m.changelog:]} {
		for i := range list {
			if size := recordSize(&list[i]); size > t.config.MaxRecordBytes {
				return &graph.RecordError{Cause: graph.CauseEncode, Node: list[i].Topic, Err: fmt.Errorf("%w: %d bytes for topic %s, which takes %d", ErrTooLarge, size, list[i].Topic, t.config.MaxRecordBytes)}
			}
		}
	}
	return nil
}
