package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
)

// errSeenRow says that a row of remembered commands is not what this package writes.
var errSeenRow = errors.New("malformed row of remembered commands")

// A command's id is remembered by the changelog record that it caused: the id and its fingerprint ride in that record's
// header, and the rows below are derived from it, live as in a restore. So that no id is lost when a key's records are
// compacted, the changelog has min.compaction.lag.ms set to the horizon. This costs no record of its own.

// seenCommands are the command ids that a task has applied: rows id → fingerprint and the stream time at which it was
// applied. It is not the command's own time: that may lie behind the stream's by more than the horizon, if a clock was
// wrong or a message was long on its way, and the command must be remembered all the same.
type seenCommands struct {
	rows    graph.State
	horizon int64  // milliseconds
	cursor  []byte // of the sweep
	swept   int    // rows that this pass of the sweep has left
	scratch []byte

	// filter holds every id of the rows, and more; it is believed once it is complete: after a start it is filled from the
	// rows, a few with each command, from filled on.
	filter   idFilter
	complete bool
	filled   []byte
}

type fingerprint [8]byte

// seenRow is the length of a row: fingerprint and big-endian stream time in milliseconds.
const seenRow = 16

// fingerprintOf tells two bodies under one id apart: the commander's header, or the record's own bytes.
func fingerprintOf(ctx *graph.Context) (f fingerprint) {
	if header := ctx.HeaderValue(meta.Fingerprint); len(header) >= len(f) {
		copy(f[:], header)
		return f
	}
	sum := sha256.Sum256(ctx.RawValue)
	copy(f[:], sum[:])
	return f
}

// find returns the fingerprint under which an id was seen within the horizon before now.
func (s *seenCommands) find(now int64, id string) (first fingerprint, known bool, err error) {
	s.scratch = append(s.scratch[:0], id...)
	if !s.complete {
		if err := s.fill(); err != nil {
			return first, false, err
		}
	}
	if s.complete && !s.filter.has(s.scratch) {
		return first, false, nil
	}
	row, found, err := s.rows.Get(s.scratch)
	if err != nil || !found {
		return first, false, err
	}
	if len(row) != seenRow {
		return first, false, fmt.Errorf("%w: %d bytes for id %q", errSeenRow, len(row), id)
	}
	if now-int64(binary.BigEndian.Uint64(row[8:])) >= s.horizon {
		return first, false, nil
	}
	copy(first[:], row)
	return first, true, nil
}

// fillRows is how many rows go into the filter with each command until it is complete: about 2 ms of work.
const fillRows = 4096

// fill takes some more rows into the filter. Rows that are added meanwhile are there by added.
func (s *seenCommands) fill() error {
	rows := s.rows.Range(s.filled, nil, false)
	defer rows.Close()
	n := 0
	for ; n < fillRows && rows.Next(); n++ {
		s.filter.add(rows.Key())
		s.filled = append(s.filled[:0], rows.Key()...)
	}
	s.complete = n < fillRows
	return rows.Err()
}

// added keeps the filter level with a row that was put.
func (s *seenCommands) added(id string) {
	s.scratch = append(s.scratch[:0], id...)
	s.filter.add(s.scratch)
}

// appendSeen appends what a changelog record's header carries: fingerprint, the uvarint of how many milliseconds the
// command's timestamp lies behind the stream time, then the id.
func appendSeen(dst []byte, id string, f fingerprint, behind int64) []byte {
	dst = append(dst, f[:]...)
	dst = binary.AppendUvarint(dst, uint64(behind))
	return append(dst, id...)
}

// deriveSeen returns the Store.Derive of a decider's store.
func deriveSeen(store string) func(key, value, extra []byte, timestamp int64, put func(string, []byte, []byte)) {
	return func(_, _, extra []byte, timestamp int64, put func(string, []byte, []byte)) {
		if len(extra) <= len(fingerprint{}) {
			return
		}
		behind, n := binary.Uvarint(extra[8:])
		if n <= 0 {
			return
		}
		var row [seenRow]byte
		copy(row[:], extra[:8])
		binary.BigEndian.PutUint64(row[8:], uint64(timestamp)+behind)
		put(store, extra[8+n:], row[:])
	}
}

const (
	// sweepInterval is how often expired ids are looked for, in milliseconds.
	sweepInterval = 1000
	// sweepRows is how many rows one look goes through: a task remembers what it has to in any case, and a pass over a
	// million rows is done in a few minutes.
	sweepRows = 1024
)

// sweep removes some ids that lie behind the horizon. Whether and when it runs changes no outcome: find looks at the time.
func (s *seenCommands) sweep(ctx *graph.Context, _ int64) error {
	rows := s.rows.Range(s.cursor, nil, false)
	defer rows.Close()
	var expired [][]byte
	n := 0
	for ; n < sweepRows && rows.Next(); n++ {
		if value := rows.Value(); len(value) == seenRow && ctx.StreamTime-int64(binary.BigEndian.Uint64(value[8:])) >= s.horizon {
			expired = append(expired, append([]byte(nil), rows.Key()...))
		}
		s.cursor = append(s.cursor[:0], rows.Key()...)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.swept += n - len(expired)
	if n < sweepRows {
		s.rebuild()
		s.cursor, s.swept = nil, 0
	}
	for _, id := range expired {
		s.rows.Put(id, nil, nil)
	}
	return nil
}

// rebuild empties the filter once most of what it holds has expired; it fills again.
func (s *seenCommands) rebuild() {
	if s.filter.ids > firstLayer && s.filter.ids > 4*s.swept {
		s.filter.reset()
		s.complete, s.filled = false, nil
	}
}
