package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

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
	horizon int64 // milliseconds
	scratch []byte
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

// seenExpiry returns the Store.DerivedExpiry of a decider's store: find looks at the time itself, so that it changes no
// outcome whether and when rows behind the horizon are dropped.
func seenExpiry(horizon time.Duration) func(row []byte) int64 {
	return func(row []byte) int64 {
		if len(row) != seenRow {
			return 0
		}
		return int64(binary.BigEndian.Uint64(row[8:])) + horizon.Milliseconds()
	}
}
