package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// set is one store of withSets. Its fields belong to the writer, but for those that mu guards.
type set struct {
	name   string
	base   Engine
	expiry func(value []byte) int64
	rows   int // of a segment

	added []byte // the entries of the batch being applied
	addedCount,
	expected int // how many there are; their bytes, about
	sealing *segment // what the batch being applied makes of the log and added; nil if it goes on with the log
	expired []*segment
	tail    []byte // the last row of the log
	logRow  uint64 // its number; 0 before the first
	firstLogRow,
	nextLogRow uint64 // of the batch being applied
	nextTail []byte
	number   uint32 // of the last segment

	mu       sync.RWMutex
	recent   recent     // the entries of the log; guarded by mu
	segments []*segment // oldest first; guarded by mu
}

// The keys of a set's rows in the base begin with one of these.
const (
	setFormat  byte = iota // alone: the format's version
	setLog                 // and 8 bytes, the row's number: entries that came together
	setSegment             // and 4 bytes, the segment's number: its header and filter
	setPage                // and 4 bytes and 4 bytes, the segment's and the page's number: entries
)

const (
	// setVersion is the format's version.
	setVersion = 1
	// logRowBytes is up to where a row of the log is written again with what came since: rows that are few are soon read
	// and removed.
	logRowBytes = 512
)

// load reads log and filters.
func (s *set) load() error {
	s.recent.clear()
	rows := s.base.Range(s.name, nil, nil, false)
	first := rows.Next()
	if !first {
		return rows.Close()
	}
	err := checkSetFormat(rows.Key(), rows.Value())
	if closeErr := rows.Close(); closeErr != nil {
		return closeErr
	}
	if err != nil {
		return err
	}
	if err := s.each(setLog, 9, s.loadLog); err != nil {
		return err
	}
	return s.each(setSegment, 5, func(key, value []byte) error {
		loaded, err := decodeSegment(binary.BigEndian.Uint32(key[1:]), value)
		if err != nil {
			return err
		}
		s.segments, s.number = append(s.segments, loaded), loaded.number
		return nil
	})
}

// checkSetFormat looks at the first row of a store that should be a set's.
func checkSetFormat(key, value []byte) error {
	switch {
	case !bytes.Equal(key, []byte{setFormat}):
		return fmt.Errorf("%w: its rows are not a set's", ErrOlderFormat)
	case len(value) != 1 || value[0] == 0:
		return fmt.Errorf("%w: the version of a set has %d bytes", ErrCorrupt, len(value))
	case value[0] < setVersion:
		return fmt.Errorf("%w: a set of version %d, this program reads %d", ErrOlderFormat, value[0], setVersion)
	case value[0] > setVersion:
		return fmt.Errorf("%w: a set of version %d, this program reads up to %d", ErrNewerFormat, value[0], setVersion)
	}
	return nil
}

// each visits the rows under a prefix whose keys have the given length.
func (s *set) each(prefix byte, length int, visit func(key, value []byte) error) error {
	rows := s.base.Range(s.name, []byte{prefix}, []byte{prefix + 1}, false)
	defer rows.Close()
	for rows.Next() {
		if len(rows.Key()) != length {
			return fmt.Errorf("%w: a set's row has a key of %d bytes", ErrCorrupt, len(rows.Key()))
		}
		if err := visit(rows.Key(), rows.Value()); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *set) loadLog(key, value []byte) error {
	s.logRow = binary.BigEndian.Uint64(key[1:])
	if s.firstLogRow == 0 {
		s.firstLogRow = s.logRow
	}
	s.tail = append(s.tail[:0], value...)
	return s.recent.add(value)
}

// clear forgets everything, after the base has.
func (s *set) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent.clear()
	s.segments = nil
	s.logRow, s.firstLogRow, s.number, s.tail = 0, 0, 0, s.tail[:0]
}

// get looks a row up: in the log, then in the segments from the newest on.
func (s *set) get(key []byte) ([]byte, bool, error) {
	var buffer [64]byte
	packed := appendPacked(buffer[:0], key)
	hash := xxhash.Sum64(packed)
	s.mu.RLock()
	value, found := s.recent.get(hash, packed)
	value = bytes.Clone(value)
	var may []*segment
	if !found {
		for i := len(s.segments) - 1; i >= 0; i-- {
			if s.segments[i].filter.has(hash) {
				may = append(may, s.segments[i])
			}
		}
	}
	s.mu.RUnlock()
	if found {
		return notNil(value), true, nil
	}
	for _, candidate := range may {
		page, there, err := s.base.Get(s.name, candidate.pageKey(nil, candidate.page(hash)))
		if err != nil {
			return nil, false, err
		}
		if !there {
			continue // empty, or it has expired meanwhile
		}
		for len(page) > 0 {
			var entry []byte
			if entry, value, page, err = cutEntry(page); err != nil {
				return nil, false, err
			}
			if bytes.Equal(entry, packed) {
				return notNil(bytes.Clone(value)), true, nil
			}
		}
	}
	return nil, false, nil
}

func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// write adds to a batch what is to be written for the entries in s.added. now is the stream time, 0 if it is not known.
func (s *set) write(batch *Batch, now int64) {
	s.sealing, s.expired = nil, nil
	if len(s.added) == 0 {
		return
	}
	if s.logRow == 0 && s.number == 0 {
		batch.Put(s.name, []byte{setFormat}, []byte{setVersion})
	}
	if s.recent.count+s.addedCount < s.rows {
		s.writeLog(batch)
		return
	}
	for row := s.firstLogRow; row > 0 && row <= s.logRow; row++ {
		batch.Delete(s.name, logKey(row))
	}
	s.sealing = newSegment(s.number+1, &s.recent, s.added, s.addedCount, s.expiry)
	s.sealing.write(batch, s.name)
	for _, old := range s.segments {
		if old.expiry > now {
			break // and so are those after it, or will be removed a little later
		}
		s.expired = append(s.expired, old)
		old.remove(batch, s.name)
	}
}

func (s *set) writeLog(batch *Batch) {
	if s.logRow > 0 && len(s.tail) > 0 && len(s.tail)+len(s.added) <= logRowBytes {
		s.nextLogRow, s.nextTail = s.logRow, append(append(s.nextTail[:0], s.tail...), s.added...)
	} else {
		s.nextLogRow, s.nextTail = s.logRow+1, append(s.nextTail[:0], s.added...)
	}
	batch.Put(s.name, logKey(s.nextLogRow), s.nextTail)
}

// written makes what write has added visible, now that the batch is applied.
func (s *set) written() {
	if len(s.added) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealing == nil {
		s.logRow, s.tail, s.nextTail = s.nextLogRow, s.nextTail, s.tail
		if s.firstLogRow == 0 {
			s.firstLogRow = s.logRow
		}
		// They were encoded here and cannot fail to decode.
		_ = s.recent.add(s.added)
		return
	}
	s.number, s.firstLogRow, s.tail = s.sealing.number, 0, s.tail[:0]
	s.recent.clear()
	s.segments = append(s.segments[len(s.expired):], s.sealing)
	s.sealing = nil
}

func logKey(row uint64) []byte { return binary.BigEndian.AppendUint64([]byte{setLog}, row) }

// eachEntry visits entries back to back, and says where each begins.
func eachEntry(data []byte, visit func(begin int, entry, packed, value []byte)) {
	for begin := 0; begin < len(data); {
		packed, value, rest, err := cutEntry(data[begin:])
		if err != nil {
			return // they were encoded here
		}
		end := len(data) - len(rest)
		visit(begin, data[begin:end], packed, value)
		begin = end
	}
}
