package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Set says what a set is like.
type Set struct {
	// Expiry tells until when a row is needed: the stream time, in milliseconds, from which on it may be dropped.
	Expiry func(value []byte) int64
	// SegmentRows is how many rows make a segment; 0 means DefaultSegmentRows.
	SegmentRows int
}

// DefaultSegmentRows is what a set holds in memory beside its filters, up to 2 MiB where keys are UUIDs.
const DefaultSegmentRows = 32 << 10

// WithSets returns an engine on which the named stores are sets: rows that are put once, looked up one by one and expire
// by themselves, which is what remembered command ids are. A set costs its base a few large rows instead of one for each
// of its own (a tenth of the processor time in all), and answers "not there" from memory. In return its rows cannot be
// deleted or iterated over: both are ErrInvalid.
//
// What it makes of its rows is documented in docs/format/store.md: they are gathered in a log, a row for each batch, until
// there are enough for a segment, which is written in pages by hash with a filter. Both lie in the same store of the base
// and are written with the batch that brought the rows, so that all that Engine.Apply promises holds for sets as well.
//
// The engine owns the base. A base on which a store has rows that are not a set's is ErrOlderFormat: it was written before there
// were sets, and is rebuilt from its changelog.
func WithSets(base Engine, sets map[string]Set) (Engine, error) {
	e := &withSets{Engine: base, sets: map[string]*set{}, batch: NewBatch()}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		s := &set{name: name, base: base, expiry: sets[name].Expiry, rows: cmp.Or(sets[name].SegmentRows, DefaultSegmentRows)}
		if err := s.load(); err != nil {
			return nil, errors.Join(fmt.Errorf("loading set %s: %w", name, err), base.Close())
		}
		e.sets[name] = s
	}
	return e, nil
}

type withSets struct {
	Engine
	sets map[string]*set

	writing sync.Mutex
	batch   *Batch // what the base gets; guarded by writing
	keeping bool   // while batches are deferred; guarded by writing
}

var errSetIsNoTable = fmt.Errorf("%w: rows of a set are neither deleted nor iterated over", ErrInvalid)

// Get implements Engine.
func (e *withSets) Get(name string, key []byte) ([]byte, bool, error) {
	if s, ok := e.sets[name]; ok {
		return s.get(key)
	}
	return e.Engine.Get(name, key)
}

// Range implements Engine.
func (e *withSets) Range(name string, from, to []byte, descending bool) Iterator {
	if _, ok := e.sets[name]; ok {
		return failedIterator{errSetIsNoTable}
	}
	return e.Engine.Range(name, from, to, descending)
}

// Apply implements Engine.
func (e *withSets) Apply(batch *Batch) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.batch.Reset()
	if err := e.divide(batch); err != nil {
		return err
	}
	var now int64
	for i := range batch.checkpoints {
		e.batch.SetCheckpoint(batch.checkpoints[i])
		now = max(now, batch.checkpoints[i].StreamTime)
	}
	for _, s := range e.sets {
		s.write(e.batch, now)
	}
	if e.batch.memory() > maxReusedBatch { // a restore's; those of commits are smaller
		return e.applyLarge()
	}
	if err := e.Engine.Apply(e.batch); err != nil {
		return err
	}
	for _, s := range e.sets {
		s.written()
	}
	return nil
}

// applyLarge applies e.batch and keeps no memory of it.
func (e *withSets) applyLarge() error {
	batch := e.batch
	e.batch = NewBatch()
	if err := give(e.Engine, batch); err != nil {
		return err
	}
	for _, s := range e.sets {
		s.written()
	}
	e.release()
	return nil
}

// divide gives each set its new rows, and the rest to the base's batch.
func (e *withSets) divide(batch *Batch) error {
	for _, s := range e.sets {
		s.added, s.addedCount = s.added[:0], 0
	}
	sets := make([]*set, len(batch.stores))
	for i, name := range batch.stores {
		sets[i] = e.sets[name]
	}
	if batch.memory() > maxReusedBatch {
		e.makeRoom(batch, sets)
	}
	start := uint32(0)
	for i := range batch.operations {
		op := &batch.operations[i]
		key, value := batch.data[start:op.keyEnd], batch.data[op.keyEnd:op.valueEnd]
		start = op.valueEnd
		switch s := sets[op.store]; {
		case s == nil && op.delete:
			e.batch.Delete(batch.stores[op.store], key)
		case s == nil:
			e.batch.Put(batch.stores[op.store], key, value)
		case op.delete:
			return errSetIsNoTable
		default:
			s.added = appendEntry(s.added, key, value)
			s.addedCount++
		}
	}
	return nil
}

// makeRoom makes room for what divide finds in a batch, and the segments that become of it: neither is to grow step by step.
func (e *withSets) makeRoom(batch *Batch, sets []*set) {
	bytes, operations, start := 0, 0, uint32(0)
	for i := range batch.operations {
		op := &batch.operations[i]
		size := int(op.valueEnd - start)
		if s := sets[op.store]; s == nil {
			bytes, operations = bytes+size, operations+1
		} else {
			if op.keyEnd-start == uuidText {
				size -= uuidText - uuidBytes
			}
			s.expected += size + entryOverhead
			bytes += size + entryOverhead + filterBits/8
		}
		start = op.valueEnd
	}
	for _, s := range e.sets {
		s.added, s.expected = slices.Grow(s.added, s.expected), 0
	}
	const more = 1 << 15 // keys of pages, a segment's header
	e.batch.Grow(bytes+more, operations+more/pageEntries)
}

// DeleteStore implements Engine.
func (e *withSets) DeleteStore(name, changelog string) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if err := e.Engine.DeleteStore(name, changelog); err != nil {
		return err
	}
	if s, ok := e.sets[name]; ok {
		s.clear()
	}
	return nil
}

// Defer implements Deferrer, if the base does. Meanwhile batches are large, and memory for what is between them and the base is
// kept.
func (e *withSets) Defer(bytes int) {
	e.writing.Lock()
	e.keeping = bytes > 0
	e.release()
	e.writing.Unlock()
	Defer(e.Engine, bytes)
}

// release lets go of memory for large batches.
func (e *withSets) release() {
	for _, s := range e.sets {
		if !e.keeping && cap(s.added) > maxReusedBatch {
			s.added = nil
		}
	}
}

// failedIterator is an iterator over nothing.
type failedIterator struct{ err error }

func (failedIterator) Next() bool     { return false }
func (failedIterator) Key() []byte    { return nil }
func (failedIterator) Value() []byte  { return nil }
func (i failedIterator) Err() error   { return i.err }
func (i failedIterator) Close() error { return i.err }

// An entry is a row of a set: the packed key, the length of the value as a uvarint, the value.
//
// A packed key is 0 and 16 bytes for a UUID in its usual form (RFC 9562, lower case), else the key's length + 1 as a uvarint
// and the key. None is the beginning of another.

func appendEntry(dst, key, value []byte) []byte {
	dst = appendPacked(dst, key)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func appendPacked(dst, key []byte) []byte {
	if packed, ok := appendUUID(append(dst, 0), key); ok {
		return packed
	}
	dst = binary.AppendUvarint(dst, uint64(len(key))+1)
	return append(dst, key...)
}

const (
	uuidText  = 36
	uuidBytes = 16
	// entryOverhead is what an entry has besides key and value, as a rule.
	entryOverhead = 3
)

// appendUUID appends the 16 bytes of a UUID's text.
func appendUUID(dst, text []byte) ([]byte, bool) {
	if len(text) != uuidText || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return dst, false
	}
	wrong := byte(0)
	for _, at := range uuidDigits {
		high, low := hexDigits[text[at]], hexDigits[text[at+1]]
		wrong |= high | low
		dst = append(dst, high<<4|low)
	}
	return dst, wrong < 16
}

// uuidDigits are the places of the pairs of digits in a UUID's text.
var uuidDigits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexDigits are the values of lower-case hexadecimal digits; 16 is for what is none.
var hexDigits = func() (values [256]byte) {
	for digit := range values {
		values[digit] = 16
		if i := strings.IndexByte("0123456789abcdef", byte(digit)); i >= 0 {
			values[digit] = byte(i)
		}
	}
	return values
}()

// cutEntry takes the first entry off data; packed is its key's part.
func cutEntry(data []byte) (packed, value, rest []byte, err error) {
	size, n := binary.Uvarint(data)
	switch {
	case n > 0 && size == 0:
		n += 16
	case n > 0 && size-1 <= uint64(len(data)):
		n += int(size - 1)
	default:
		n = len(data) + 1
	}
	if n <= len(data) {
		length, m := binary.Uvarint(data[n:])
		if begin := n + m; m > 0 && length <= uint64(len(data)-begin) {
			end := begin + int(length)
			return data[:n], data[begin:end], data[end:], nil
		}
	}
	return nil, nil, nil, fmt.Errorf("%w: a set's entry of %d bytes does not add up", ErrCorrupt, len(data))
}
