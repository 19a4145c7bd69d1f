package store

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/syndtr/goleveldb/leveldb"
)

// A large store is one whose rows are merged several times on their way down LevelDB's levels. Larger write buffers, and a first
// level in proportion to them, have each merge bring more: with rows of 175 bytes in random order, 2,500,000 of them, a third of
// the processor time (docs/bench/ENGINE.md, "Large state"). Small states are not worth the memory, so that a store begins small.
const (
	// largeStore is the size of the sorted files from which a store is large, in bytes.
	largeStore = 64 << 20
	// largeWriteBuffer is the least write buffer of a large store, in bytes.
	largeWriteBuffer = 4 << 20
)

// ofSize returns the options for a store whose sorted files have so many bytes, and whether that makes a difference to what is
// set already.
func (o Options) ofSize(bytes int64) (sized Options, larger bool) {
	if bytes < o.large() || o.WriteBuffer >= largeWriteBuffer {
		return o, false
	}
	o.WriteBuffer = largeWriteBuffer
	return o, true
}

func (o Options) large() int64 {
	if o.largeStore > 0 {
		return o.largeStore
	}
	return largeStore
}

// sortedBytes is the size of all sorted files of a database.
func sortedBytes(db *leveldb.DB) (bytes int64, err error) {
	var stats leveldb.DBStats
	if err := db.Stats(&stats); err != nil {
		return 0, err
	}
	return stats.LevelSizes.Sum(), nil
}

// sortedBytesIn is the size of the sorted files in a directory, as far as it can be read: opening the store tells what is wrong.
func sortedBytesIn(dir string) (bytes int64) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".ldb" {
			continue
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// grow opens the database anew with larger buffers once the store has become large. It is called by the one who writes. LevelDB
// takes a buffer's size at opening only; what is in the buffers comes back from the journals, as after a kill. While rows are
// being walked it is put off, because the walk would end.
func (e *levelDB) grow() error {
	created := e.guard.created.Load()
	if created == e.looked {
		return nil // no buffer has been filled since the last look
	}
	e.looked = created
	bytes, err := sortedBytes(e.db)
	if err != nil {
		return classify(err)
	}
	options, larger := e.options.ofSize(bytes)
	if !larger {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if e.iterators.some() {
		e.looked = 0 // look again with the next batch
		return nil
	}
	if err := e.reopen(options); err != nil {
		return fmt.Errorf("opening the database anew with larger buffers: %w", classify(err))
	}
	return nil
}

// reopen is called under mu. If it fails, the engine can only be closed.
func (e *levelDB) reopen(options Options) error {
	if err := e.db.Close(); err != nil {
		return err
	}
	guard := &guard{Storage: e.files}
	db, err := leveldb.Open(guard, options.leveldb())
	if err != nil {
		return err
	}
	e.db, e.guard, e.options = db, guard, options
	e.buffered.reset(guard)
	e.looked = guard.created.Load()
	return nil
}
