package task

import (
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
)

// Restore adds to a batch what one changelog record says: its row and the rows derived from it. A record of a commit
// above limit is passed over: its transaction did not reach the group's offsets (rule 4's sequence; it can only happen
// when the embedded broker was killed between a transaction's markers), and its input will be stepped again.
// It returns the record's sequence, 0 for a record that carries none.
func Restore(batch *store.Batch, spec *graph.Store, record Record, limit uint64) (uint64, error) {
	var sequence uint64
	var extra []byte
	for _, header := range record.Headers {
		if header.Key != meta.Changelog {
			continue
		}
		var err error
		if sequence, extra, err = ParseChangelog(header.Value); err != nil {
			return 0, err
		}
		if sequence > limit {
			return sequence, nil
		}
	}
	switch {
	case record.Value == nil:
		batch.Delete(spec.Name, record.Key)
	case spec.Timestamped:
		var buffer [256]byte
		batch.Put(spec.Name, record.Key, append(graph.AppendRow(buffer[:0], record.Timestamp), record.Value...))
	default:
		batch.Put(spec.Name, record.Key, record.Value)
	}
	if extra != nil && spec.Derive != nil {
		spec.Derive(record.Key, record.Value, extra, record.Timestamp, func(name string, key, value []byte) {
			if value == nil {
				batch.Delete(name, key)
				return
			}
			batch.Put(name, key, value)
		})
	}
	return sequence, nil
}
