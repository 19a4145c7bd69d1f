package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Deferrer is an engine that can keep batches in memory and write them later, in their order.
type Deferrer interface {
	// Defer lets up to so many bytes of batches wait in memory: Apply returns before they are on the disk, reads find them all
	// the same. 0 ends that: what waits is written in the background, and once it is, Apply writes at once again.
	//
	// The process may then be killed with batches unwritten. What is found afterwards is what a loss of power leaves too: the
	// first batches of the engine's history, with the checkpoints of the last of them.
	Defer(bytes int)
}

// Defer calls the engine's Defer, if it has one.
func Defer(engine Engine, bytes int) {
	if d, ok := engine.(Deferrer); ok {
		d.Defer(bytes)
	}
}

// WithDeferral returns an engine that is a Deferrer and otherwise does what its base does, which it owns. It is for restores:
// to sort rows into files takes longer than to read them from a changelog, and a task can work before that is done. If it is
// not done when the process ends, the changelog is read again.
func WithDeferral(base Engine) Engine {
	d := &deferred{base: base}
	d.changed.L = &d.mu
	return d
}

// deferred is the Engine of WithDeferral. Batches go through a queue whenever one is there, so that they reach the base in
// the order in which they were applied.
type deferred struct {
	base    Engine
	writing sync.Mutex // held by the one who applies or deletes

	mu      sync.RWMutex
	changed sync.Cond // on mu: the queue has become shorter, bound has changed, or failed is set
	limit   int       // bytes that may wait; guarded by mu
	bound   int       // bytes at which Apply waits: more than limit while what waited is written down; guarded by mu
	waiting uint64    // operations before this number are wanted in the base now; guarded by mu
	running bool      // drain runs; guarded by mu
	closed  bool      // guarded by mu
	failed  error     // why a batch could not be written; guarded by mu
	queue   []queued  // oldest first; guarded by mu
	bytes   int       // in the queue; guarded by mu
	next    uint64    // number of the next operation; guarded by mu
	index   rowIndex  // of the queue's rows, as far as indexed; guarded by mu
	indexed uint64    // operations before this number are in the index: who reads first adds the rest; guarded by mu
	// checkpoints are those of the queue's batches, the last of each changelog; guarded by mu.
	checkpoints map[string]Checkpoint
}

// queued is a batch that waits; first is the number of its first operation.
type queued struct {
	first uint64
	batch *Batch
}

// Defer implements Deferrer.
func (d *deferred) Defer(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes > 0 {
		d.limit, d.bound = bytes, max(bytes, minDeferred)
	} else if d.limit > 0 {
		// The task works while the queue of its restore is written down, and must not wait for all of it.
		d.limit, d.bound = 0, d.bound+minDeferred
	}
	d.changed.Broadcast()
	d.startDraining()
}

// Apply implements Engine.
func (d *deferred) Apply(batch *Batch) error { return d.apply(batch, (*Batch).clone) }

// giver is an engine that can keep a batch instead of copying it.
type giver interface {
	// give is Apply of a batch that is the engine's from then on, also when it fails.
	give(batch *Batch) error
}

// give applies a batch that nobody uses any more.
func give(engine Engine, batch *Batch) error {
	if g, ok := engine.(giver); ok {
		return g.give(batch)
	}
	return engine.Apply(batch)
}

func (d *deferred) give(batch *Batch) error {
	return d.apply(batch, func(b *Batch) *Batch { return b })
}

// apply applies a batch, of which own makes one that the queue may keep.
func (d *deferred) apply(batch *Batch, own func(*Batch) *Batch) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	queued, err := d.enqueue(batch, own)
	if queued || err != nil {
		return err
	}
	return d.base.Apply(batch)
}

// enqueue puts the batch into the queue, unless there is none.
func (d *deferred) enqueue(batch *Batch, own func(*Batch) *Batch) (queued bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit == 0 && len(d.queue) == 0 || d.closed {
		return false, nil
	}
	if err := batch.validate(); err != nil {
		return false, err
	}
	if batch.empty() {
		return false, d.unwritten()
	}
	if d.next > maxNumber {
		d.wantWritten(d.next)
	}
	for d.failed == nil && len(d.queue) > 0 && d.bytes+batch.memory() > d.bound {
		d.waiting = max(d.waiting, d.queue[0].first+1)
		d.startDraining()
		d.changed.Wait()
	}
	if d.failed != nil {
		return false, d.unwritten()
	}
	d.push(own(batch))
	d.startDraining()
	return true, nil
}

// maxNumber is where the numbers must begin again, which they do when the queue is empty: the index has 32 bits for one.
const maxNumber = 1 << 30

// minDeferred is the least that may wait, and how much more may while the queue is written down after a restore.
const minDeferred = 4 << 20

func (d *deferred) unwritten() error {
	if d.failed == nil {
		return nil
	}
	return fmt.Errorf("an earlier batch could not be written; close the store and open it again: %w", d.failed)
}

func (d *deferred) push(batch *Batch) {
	if len(d.queue) == 0 {
		d.next, d.waiting, d.indexed = 1, 0, 1
		d.index.clear()
		d.checkpoints = map[string]Checkpoint{}
	}
	d.queue = append(d.queue, queued{first: d.next, batch: batch})
	// A batch takes a number even if it has checkpoints only, so that the last one can be waited for.
	d.next += uint64(max(1, len(batch.operations)))
	d.bytes += batch.memory()
	for i := range batch.checkpoints {
		d.checkpoints[batch.checkpoints[i].Changelog] = batch.checkpoints[i]
	}
}

// wantWritten waits until the operations before the given number are in the base, or writing has failed.
func (d *deferred) wantWritten(before uint64) {
	d.waiting = max(d.waiting, before)
	d.startDraining()
	for d.failed == nil && len(d.queue) > 0 && d.queue[0].first < before {
		d.changed.Wait()
	}
}

// startDraining starts the goroutine that writes the queue down, if there is something to do.
func (d *deferred) startDraining() {
	if !d.running && d.due() {
		d.running = true
		go d.drain()
	}
}

// due tells whether the first batch is to be written: nothing is to wait, too much waits, or somebody does.
func (d *deferred) due() bool {
	return len(d.queue) > 0 && d.failed == nil && (d.limit == 0 || d.bytes > d.limit-d.limit/8 || d.queue[0].first < d.waiting)
}

// drain writes the queue down for as long as that is due.
func (d *deferred) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.due() {
		batch := d.queue[0].batch
		d.mu.Unlock()
		err := d.base.Apply(batch)
		d.mu.Lock()
		if err != nil {
			d.failed = err
		} else {
			d.bytes -= batch.memory()
			d.queue[0] = queued{}
			if d.queue = d.queue[1:]; len(d.queue) == 0 {
				d.queue, d.checkpoints = nil, nil
				d.bound = max(d.limit, minDeferred)
				d.index.clear()
			}
		}
		d.changed.Broadcast()
	}
	d.running = false
}

// operation returns what stands under a number, which must not be of a batch that was written down.
func (d *deferred) operation(number uint64) (store string, key, value []byte, deletes bool) {
	at, found := slices.BinarySearchFunc(d.queue, number, func(q queued, n uint64) int {
		if q.first <= n {
			return -1
		}
		return 1
	})
	if !found {
		at--
	}
	q := &d.queue[at]
	i := int(number - q.first)
	op := &q.batch.operations[i]
	start := uint32(0)
	if i > 0 {
		start = q.batch.operations[i-1].valueEnd
	}
	return q.batch.stores[op.store], q.batch.data[start:op.keyEnd], q.batch.data[op.keyEnd:op.valueEnd], op.delete
}

// behind tells whether there are operations to find that are not in the index.
func (d *deferred) behind() bool { return len(d.queue) > 0 && !d.closed && d.indexed < d.next }

// catchUp adds to the index what it lacks. A restore adds a million rows that nobody asks for meanwhile, and some are written
// down before anybody does.
func (d *deferred) catchUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.behind() {
		return
	}
	d.index.reserve(int(d.next-max(d.indexed, d.oldest())), d)
	for i := range d.queue {
		q := &d.queue[i]
		if q.first < d.indexed {
			continue // a batch is added as a whole
		}
		start := uint32(0)
		for i := range q.batch.operations {
			op := &q.batch.operations[i]
			d.index.put(q.batch.stores[op.store], q.batch.data[start:op.keyEnd], q.first+uint64(i), d)
			start = op.valueEnd
		}
	}
	d.indexed = d.next
}

// oldest is the number of the queue's first operation.
func (d *deferred) oldest() uint64 {
	if len(d.queue) == 0 {
		return d.next
	}
	return d.queue[0].first
}

// Get implements Engine.
func (d *deferred) Get(store string, key []byte) ([]byte, bool, error) {
	d.mu.RLock()
	for d.behind() {
		d.mu.RUnlock()
		d.catchUp()
		d.mu.RLock()
	}
	if len(d.queue) > 0 && !d.closed {
		if number, found := d.index.find(store, key, d); found {
			defer d.mu.RUnlock()
			_, _, value, deletes := d.operation(number)
			if deletes {
				return nil, false, nil
			}
			return append([]byte{}, value...), true, nil
		}
	}
	d.mu.RUnlock()
	return d.base.Get(store, key)
}

// Range implements Engine. It waits until what was applied before is written down.
func (d *deferred) Range(store string, from, to []byte, descending bool) Iterator {
	if err := d.settle(); err != nil {
		return failedIterator{err}
	}
	return d.base.Range(store, from, to, descending)
}

// settle waits until the whole queue, as it is now, is in the base.
func (d *deferred) settle() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.queue) == 0 {
		return nil
	}
	d.wantWritten(d.next)
	return d.unwritten()
}

// Checkpoint implements Engine.
func (d *deferred) Checkpoint(changelog string) (Checkpoint, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if checkpoint, found := d.checkpoints[changelog]; found {
		return checkpoint, true
	}
	return d.base.Checkpoint(changelog)
}

// Checkpoints implements Engine.
func (d *deferred) Checkpoints() map[string]Checkpoint {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := d.base.Checkpoints()
	maps.Copy(all, d.checkpoints)
	return all
}

// DeleteStore implements Engine.
func (d *deferred) DeleteStore(store, changelog string) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return err
	}
	return d.base.DeleteStore(store, changelog)
}

// Size implements Engine.
func (d *deferred) Size(store string) (int64, error) {
	size, err := d.base.Size(store)
	if err != nil {
		return 0, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := range d.queue {
		size += d.queue[i].batch.bytesOf(store)
	}
	return size, nil
}

// Close implements Engine. It writes the queue down first.
func (d *deferred) Close() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	err := d.settle()
	d.mu.Lock()
	d.closed = true
	d.queue, d.checkpoints = nil, nil
	d.mu.Unlock()
	return errors.Join(err, d.base.Close())
}
