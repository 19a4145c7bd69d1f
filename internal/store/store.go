// Package store keeps the local copy of one task's state: every store of one partition of a sub-topology (or of one
// partition of a view) in one ordered key-value engine, so that a single atomic batch carries the rows of all stores
// together with the changelog offsets they stand at.
//
// The changelog is the source of truth and the engine a copy of it. Two rules follow. A batch is applied only after
// the transaction that wrote its changelog records has committed, and its checkpoint names the offset reached: after
// a crash the rest of the changelog is read from there. And a copy that cannot be trusted is never repaired: it is
// reported as ErrCorrupt, destroyed, and rebuilt from the changelog.
//
// The bytes on disk are documented in docs/format/store.md and docs/format/checkpoint.md.
package store

import (
	"bytes"
	"errors"
)

// The errors of this package. They come wrapped with what was being done; test for them with errors.Is.
var (
	// ErrLocked reports a directory that another engine, in this process or another one, has open.
	ErrLocked = errors.New("the store directory is in use")
	// ErrCorrupt reports bytes that fail their checksum, do not decode, or are missing. The store must be
	// destroyed (Destroy) and rebuilt from its changelog; nothing in it may be believed.
	ErrCorrupt = errors.New("the store is corrupt")
	// ErrNewerFormat reports a store written by a later version of the program, which this one cannot read.
	ErrNewerFormat = errors.New("the store was written in a newer format")
	// ErrOlderFormat reports a store written by an earlier version of the program, which this one does not read: it is
	// destroyed and rebuilt from its changelog, like one that is corrupt.
	ErrOlderFormat = errors.New("the store was written in an older format")
	// ErrClosed reports the use of an engine, or of one of its iterators, after Engine.Close.
	ErrClosed = errors.New("the store is closed")
	// ErrDiskFull reports that the file system has no space, or the user no quota, left.
	ErrDiskFull = errors.New("the disk is full")
	// ErrNotStore reports a directory that holds something other than a store; it is neither opened nor removed.
	ErrNotStore = errors.New("not a store directory")
	// ErrInvalid reports a batch with an empty store name or a checkpoint that names no changelog, or options out
	// of range. Nothing was written.
	ErrInvalid = errors.New("invalid argument")
)

// Engine is an ordered key-value store with atomic batches. Any number of goroutines may read; writes (Apply and
// DeleteStore) are for one goroutine at a time and are serialised if they are not. Keys and values are arbitrary
// bytes; an empty key is a key and an empty value is a value. Stores come into being with their first row, and
// reading one that does not exist finds nothing.
type Engine interface {
	// Get returns the value of a key as the caller's own copy, never nil when found.
	Get(store string, key []byte) (value []byte, found bool, err error)
	// Range iterates over the rows of one store with from <= key < to, in ascending or descending order of the
	// key's bytes. A nil bound is no bound; a non-nil, empty to selects nothing. The iterator sees the store as it
	// was when Range was called, whatever is written meanwhile. It must be closed.
	Range(store string, from, to []byte, descending bool) Iterator
	// Apply writes a batch atomically: after a crash all of it is there or nothing. The batch may be reset and
	// reused afterwards. After an error other than ErrInvalid it is unknown whether the batch is there, and the
	// engine refuses further writes: close it and open it again, and the checkpoint tells.
	Apply(batch *Batch) error
	// Checkpoint returns where the rows of the given changelog stand, from memory. Without one the rows must not
	// be believed: call DeleteStore and restore from the beginning. A checkpoint is never ahead of the rows that
	// a later read finds.
	Checkpoint(changelog string) (Checkpoint, bool)
	// Checkpoints returns a copy of all checkpoints by changelog.
	Checkpoints() map[string]Checkpoint
	// DeleteStore removes every row of a store and the checkpoint of a changelog, the first step of a rebuild. It
	// takes effect atomically, also in a crash; other stores and checkpoints are left alone. Iterators open on the
	// store may from then on miss rows.
	DeleteStore(store, changelog string) error
	// Size returns roughly how many bytes a store takes up, in the files (compressed) and the write buffer.
	Size(store string) (bytes int64, err error)
	// Close releases the engine's files and memory. It waits for calls in progress; iterators still open end with
	// ErrClosed. Closing twice is harmless.
	Close() error
}

// Iterator walks the rows of a Range. It belongs to one goroutine.
//
//	rows := engine.Range("orders", from, to, false)
//	defer rows.Close()
//	for rows.Next() {
//		use(rows.Key(), rows.Value())
//	}
//	return rows.Err()
type Iterator interface {
	// Next moves to the next row, at first to the first, and reports whether there is one. False means the end
	// or an error: see Err.
	Next() bool
	// Key returns the row's key, valid until the next call of Next or Close and not to be modified.
	Key() []byte
	// Value returns the row's value, valid until the next call of Next or Close and not to be modified.
	Value() []byte
	// Err returns what ended the iteration early, or nil.
	Err() error
	// Close releases the snapshot and returns Err. Closing twice is harmless.
	Close() error
}

// PrefixEnd returns the smallest key greater than every key that begins with prefix, the upper bound of a prefix
// range, or nil (no bound) if there is none: when prefix is empty or consists of 0xff only.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// isEmptyRange reports whether no key lies in [from, to).
func isEmptyRange(from, to []byte) bool {
	return to != nil && bytes.Compare(from, to) >= 0
}
