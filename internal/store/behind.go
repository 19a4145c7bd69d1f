package store

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

const (
	// maxBehindOperations bounds the operations a write-behind buffer takes before it is written, and so what is
	// read again from the changelog after a crash: some tenths of a second's worth.
	maxBehindOperations = 100_000
	// maxBehindMillis bounds how much older than the last checkpoint the one on the disk may be, by the wall
	// clock the caller puts into checkpoints.
	maxBehindMillis = 10_000
)

// writeBehind is an Engine that keeps the latest rows in a hash table and hands them to the engine below it in large
// batches, each with the checkpoints it stands at. A row overwritten ten times is written once, and one just written
// is read without a search. What is on the disk is always a state the task was once in, merely an older one.
//
// A write moves rows from active to frozen, writes them below, and drops them, so that readers find every row in at
// least one of the three places and are not held up meanwhile.
type writeBehind struct {
	below Engine
	limit int // bytes

	writing    sync.Mutex
	batch      *Batch // reused; guarded by writing
	bytes      int    // of the rows in active; guarded by writing
	operations int    // since the last flush; guarded by writing
	flushedAt  int64  // WrittenAt of the last checkpoint below, 0 if unknown; guarded by writing
	failed     error  // of the flush after which nothing is written any more; guarded by writing
	closed     bool   // guarded by writing and mu: changed under both

	mu             sync.RWMutex
	active, frozen behindRows // guarded by mu
}

// behindRows are rows and checkpoints not yet written below.
type behindRows struct {
	stores      map[string]map[string]*behindRow
	checkpoints map[string]Checkpoint
}

type behindRow struct {
	value   []byte
	deleted bool
}

func newBehindRows() behindRows {
	return behindRows{stores: map[string]map[string]*behindRow{}, checkpoints: map[string]Checkpoint{}}
}

// empty reports whether there is nothing to write.
func (b *behindRows) empty() bool { return len(b.stores) == 0 && len(b.checkpoints) == 0 }

// newWriteBehind puts a buffer of about limit bytes before an engine, which it owns from then on.
func newWriteBehind(below Engine, limit int) Engine {
	return &writeBehind{below: below, limit: limit, batch: NewBatch(), active: newBehindRows()}
}

// Get implements Engine.
func (w *writeBehind) Get(store string, key []byte) (value []byte, found bool, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return nil, false, ErrClosed
	}
	row := w.active.stores[store][string(key)]
	if row == nil {
		row = w.frozen.stores[store][string(key)]
	}
	switch {
	case row == nil:
		return w.below.Get(store, key)
	case row.deleted:
		return nil, false, nil
	}
	return append([]byte{}, row.value...), true, nil
}

// Apply implements Engine.
func (w *writeBehind) Apply(batch *Batch) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := w.writable(); err != nil {
		return err
	}
	if err := batch.validate(); err != nil {
		return err
	}
	now := w.take(batch)
	if w.flushedAt == 0 {
		w.flushedAt = now
	}
	w.operations += batch.Len()
	if w.bytes >= w.limit || w.operations >= maxBehindOperations || now-w.flushedAt >= maxBehindMillis {
		return w.flush()
	}
	return nil
}

// writable returns why nothing may be written, if so.
func (w *writeBehind) writable() error {
	switch {
	case w.closed:
		return ErrClosed
	case w.failed != nil:
		return fmt.Errorf("an earlier write failed; close the store and open it again: %w", w.failed)
	}
	return nil
}

// take moves a batch into the buffer and returns the latest time in its checkpoints.
func (w *writeBehind) take(batch *Batch) (now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	current, rows := int32(-1), map[string]*behindRow(nil)
	start := 0
	for i := range batch.operations {
		operation := &batch.operations[i]
		if operation.store != current {
			current = operation.store
			name := batch.stores[current]
			if rows = w.active.stores[name]; rows == nil {
				rows = map[string]*behindRow{}
				w.active.stores[name] = rows
			}
		}
		key := batch.data[start:operation.keyEnd]
		row := rows[string(key)]
		if row == nil {
			row = &behindRow{}
			rows[string(key)] = row
			w.bytes += len(key)
		}
		w.bytes += operation.valueEnd - operation.keyEnd - len(row.value)
		row.value = append(row.value[:0], batch.data[operation.keyEnd:operation.valueEnd]...)
		row.deleted = operation.delete
		start = operation.valueEnd
	}
	for _, checkpoint := range batch.checkpoints {
		w.active.checkpoints[checkpoint.Changelog] = checkpoint
		now = max(now, checkpoint.WrittenAt)
	}
	return now
}

// flush writes the buffer below as one batch.
func (w *writeBehind) flush() error {
	w.mu.Lock()
	rows := w.active
	w.active, w.frozen = newBehindRows(), rows
	w.mu.Unlock()

	w.batch.Reset()
	for store, rows := range rows.stores {
		for key, row := range rows {
			if row.deleted {
				w.batch.Delete(store, []byte(key))
			} else {
				w.batch.Put(store, []byte(key), row.value)
			}
		}
	}
	for _, checkpoint := range rows.checkpoints {
		w.batch.SetCheckpoint(checkpoint)
		w.flushedAt = max(w.flushedAt, checkpoint.WrittenAt)
	}
	if w.failed = w.below.Apply(w.batch); w.failed != nil {
		return w.failed // the rows stay frozen, and are read from there
	}
	if w.batch.Bytes() > maxReusedBatch {
		w.batch = NewBatch()
	}
	w.bytes, w.operations = 0, 0
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = behindRows{}
	return nil
}

// Range implements Engine. It writes the buffer first: the order of the rows is known only below.
func (w *writeBehind) Range(store string, from, to []byte, descending bool) Iterator {
	w.mu.RLock()
	if w.closed || len(w.active.stores[store]) == 0 && len(w.frozen.stores[store]) == 0 {
		defer w.mu.RUnlock()
		return w.below.Range(store, from, to, descending)
	}
	w.mu.RUnlock()

	w.writing.Lock()
	defer w.writing.Unlock()
	err := w.writable()
	if err == nil && !w.active.empty() {
		err = w.flush()
	}
	if err != nil {
		return &emptyIterator{err: err}
	}
	return w.below.Range(store, from, to, descending)
}

// Checkpoint implements Engine.
func (w *writeBehind) Checkpoint(changelog string) (Checkpoint, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, rows := range []*behindRows{&w.active, &w.frozen} {
		if checkpoint, found := rows.checkpoints[changelog]; found {
			return checkpoint, true
		}
	}
	return w.below.Checkpoint(changelog)
}

// Checkpoints implements Engine.
func (w *writeBehind) Checkpoints() map[string]Checkpoint {
	w.mu.RLock()
	defer w.mu.RUnlock()
	all := w.below.Checkpoints()
	maps.Copy(all, w.frozen.checkpoints)
	maps.Copy(all, w.active.checkpoints)
	return all
}

// DeleteStore implements Engine.
func (w *writeBehind) DeleteStore(store, changelog string) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	err := w.writable()
	if err == nil && !w.active.empty() {
		err = w.flush()
	}
	if err != nil {
		return fmt.Errorf("deleting store %s: %w", store, err)
	}
	return w.below.DeleteStore(store, changelog)
}

// Size implements Engine.
func (w *writeBehind) Size(store string) (bytes int64, err error) {
	bytes, err = w.below.Size(store)
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, buffer := range []*behindRows{&w.active, &w.frozen} {
		for key, row := range buffer.stores[store] {
			bytes += int64(len(key) + len(row.value))
		}
	}
	return bytes, err
}

// Close implements Engine. It writes the buffer.
func (w *writeBehind) Close() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.closed {
		return nil
	}
	var err error
	if w.failed == nil && !w.active.empty() {
		err = w.flush()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.active, w.frozen = behindRows{}, behindRows{}
	return errors.Join(err, w.below.Close())
}
