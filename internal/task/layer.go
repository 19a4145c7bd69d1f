package task

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
)

// Layer is what a task did within one transaction: rows, changelog records, outputs and the input offsets reached.
// After Seal it is read-only, but for the two Sent marks, which belong to whoever sends it.
type Layer struct {
	// Sequence is the number of the task's commit that this layer will be.
	Sequence   uint64
	StreamTime int64 // milliseconds, as of Seal
	// Offsets are the next offsets to read, by source topic.
	Offsets map[string]int64
	// Outputs are records for topics other than changelogs, in order; Changelog are the changelog records, in order.
	Outputs   []graph.Output
	Changelog []graph.Output
	// OutputsSent and ChangelogSent count what the owner of the transaction has handed to its producer.
	OutputsSent, ChangelogSent int

	rows  map[string]map[string]row // by store and key
	size  int
	arena arena
}

type row struct {
	value []byte // nil: deleted
}

func newLayer(sequence uint64) *Layer {
	return &Layer{Sequence: sequence, Offsets: map[string]int64{}, rows: map[string]map[string]row{}}
}

// recycle empties a layer for a later transaction and keeps its memory, which is what most of a transaction costs. Nothing
// may refer to it any more: neither a step in progress nor a record on its way.
func (l *Layer) recycle(sequence uint64) *Layer {
	l.Sequence, l.StreamTime = sequence, 0
	clear(l.Offsets)
	clear(l.Outputs)
	clear(l.Changelog)
	l.Outputs, l.Changelog = l.Outputs[:0], l.Changelog[:0]
	for _, rows := range l.rows {
		clear(rows)
	}
	l.OutputsSent, l.ChangelogSent, l.size = 0, 0, 0
	l.arena.recycle()
	return l
}

// Dirty tells whether there is anything that needs a commit. Local rows alone (a sweep) wait for one.
func (l *Layer) Dirty() bool {
	return len(l.Offsets) > 0 || len(l.Outputs) > 0 || len(l.Changelog) > 0
}

// Size returns the bytes that the layer's rows and records hold, roughly.
func (l *Layer) Size() int { return l.size }

func (l *Layer) advance(topic string, next int64) {
	if topic != "" {
		l.Offsets[topic] = next
	}
}

// Write puts the layer's rows into a batch for the store.
func (l *Layer) Write(batch *store.Batch) {
	for name, rows := range l.rows {
		for key, r := range rows {
			if r.value == nil {
				batch.Delete(name, unsafeBytes(key))
			} else {
				batch.Put(name, unsafeBytes(key), r.value)
			}
		}
	}
}

// arena hands out memory in chunks, which live as long as the layer: a value is written once and then shared by the row,
// its changelog record and the store's batch. Chunks grow with the layer: a transaction may be one record or a million.
type arena struct {
	chunk   []byte   // the one in use
	full    [][]byte // used up
	free    [][]byte // empty, from an earlier transaction
	headers []graph.Header
}

// The sizes of chunks, in bytes and in headers, and how many empty chunks a layer keeps.
const (
	minChunk   = 512
	maxChunk   = 32 << 10
	minHeaders = 4
	maxHeaders = 256
	maxFree    = 64
)

func (a *arena) take(n int) []byte {
	if a.chunk == nil || n > cap(a.chunk)-len(a.chunk) {
		if n > maxChunk/4 {
			return make([]byte, n)
		}
		a.next(n)
	}
	start := len(a.chunk)
	a.chunk = a.chunk[:start+n]
	return a.chunk[start : start+n : start+n]
}

// next replaces the chunk in use by an empty one with room for n bytes.
func (a *arena) next(n int) {
	size := max(minChunk, 2*n, min(2*cap(a.chunk), maxChunk))
	if a.chunk != nil {
		a.full = append(a.full, a.chunk)
	}
	if last := len(a.free) - 1; last >= 0 && cap(a.free[last]) >= n {
		a.chunk = a.free[last]
		a.free = a.free[:last]
		return
	}
	a.chunk = make([]byte, 0, size)
}

// recycle makes every chunk empty again.
func (a *arena) recycle() {
	for _, chunk := range a.full {
		if len(a.free) < maxFree {
			a.free = append(a.free, chunk[:0])
		}
	}
	clear(a.full)
	a.full = a.full[:0]
	a.chunk = a.chunk[:0]
	a.headers = nil
}

// header returns a list of one header.
func (a *arena) header(key string, value []byte) []graph.Header {
	return append(a.list(1), graph.Header{Key: key, Value: value})
}

// list returns an empty list with room for n headers, cut from a longer one.
func (a *arena) list(n int) []graph.Header {
	start := len(a.headers)
	if n > cap(a.headers)-start {
		a.headers, start = make([]graph.Header, 0, max(n, minHeaders, min(2*cap(a.headers), maxHeaders))), 0
	}
	a.headers = a.headers[:start+n]
	return a.headers[start : start : start+n]
}

func (a *arena) copy(data []byte) []byte {
	if data == nil {
		return nil
	}
	own := a.take(len(data))
	copy(own, data)
	return own
}

// unsafeString views arena bytes as a string. The arena does not change bytes that it has handed out until the layer, with
// everything that refers to them, is recycled.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unsafeBytes views a row's key as bytes, for reading only.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// AppendChangelog appends the changelog header's value: uvarint commit sequence, then the store's own bytes.
func AppendChangelog(dst []byte, sequence uint64, extra []byte) []byte {
	dst = binary.AppendUvarint(dst, sequence)
	return append(dst, extra...)
}

// ParseChangelog reads what AppendChangelog wrote. extra is nil if the operator wrote none.
func ParseChangelog(data []byte) (sequence uint64, extra []byte, err error) {
	sequence, n := binary.Uvarint(data)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: changelog header", meta.ErrMalformed)
	}
	if n == len(data) {
		return sequence, nil, nil
	}
	return sequence, data[n:], nil
}
