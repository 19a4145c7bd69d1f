package bridge

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/task"
)

// changelogs implements restore.Source.
type changelogs struct {
	processor *Processor
	offsets   groupOffsets
	member    commit.Member
}

// Current implements restore.Source.
func (r changelogs) Current(ctx context.Context) error { return r.offsets.Current(ctx, r.member) }

// Bounds implements restore.Source.
func (r changelogs) Bounds(ctx context.Context, topics []string) (starts, ends map[commit.Place]int64, err error) {
	first, err := r.processor.admin.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	last, err := r.processor.admin.EndOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	return places(first), places(last), nil
}

func places(offsets log.Offsets) map[commit.Place]int64 {
	found := map[commit.Place]int64{}
	for topic, partitions := range offsets {
		for number, offset := range partitions {
			found[commit.Place{Topic: topic, Partition: number}] = offset
		}
	}
	return found
}

// fetchedMemory is the memory of fetched records that were applied, for the next ones.
type fetchedMemory struct {
	records, bytes sync.Pool
}

// GetRecords implements kgo.PoolRecords.
func (m *fetchedMemory) GetRecords(n int) []kgo.Record {
	if have, ok := m.records.Get().(*[]kgo.Record); ok && cap(*have) >= n {
		return (*have)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (m *fetchedMemory) PutRecords(records []kgo.Record) { m.records.Put(&records) }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (m *fetchedMemory) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if have, ok := m.bytes.Get().(*[]byte); ok {
		return *have
	}
	return make([]byte, 0, 4*len(compressed))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (m *fetchedMemory) PutDecompressBytes(bytes []byte) { m.bytes.Put(&bytes) }

// applyFetched adds fetched records to a store, and gives their memory back.
func applyFetched(s *restore.Store, records []*kgo.Record) error {
	var headers []graph.Header // nothing keeps them
	for _, record := range records {
		headers = headers[:0]
		for _, header := range record.Headers {
			headers = append(headers, graph.Header{Key: header.Key, Value: header.Value})
		}
		input := task.Record{Offset: record.Offset, Key: record.Key, Value: record.Value, Headers: headers, Timestamp: record.Timestamp.UnixMilli()}
		if err := s.Apply(input, record.Attrs.IsControl()); err != nil {
			return err
		}
		record.Recycle()
	}
	return s.Flush()
}
