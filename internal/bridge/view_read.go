package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/internal/store"
)

// viewCheckRows is how many rows a scan goes between looks at its context and at rebuilds.
const viewCheckRows = 256

// Get returns the value of a key as the caller's own copy, and the key's partition with a position that the answer is
// not older than. The error wraps ErrViewNotReady or is the disk's.
func (v *View) Get(key []byte) (value []byte, found bool, number int32, position int64, err error) {
	number = v.PartitionOf(key)
	p := v.partition(number)
	if p == nil {
		return nil, false, number, 0, ErrViewNotReady
	}
	if !p.held.Load() {
		return nil, false, number, 0, fmt.Errorf("partition %d: %w", number, ErrViewElsewhere)
	}
	value, found, position, err = p.get(key)
	return value, found, number, position, err
}

// get reads one key. A rebuild that begins meanwhile shows in the epoch: rows may have vanished, so that nothing read
// may be believed.
func (p *viewPartition) get(key []byte) (value []byte, found bool, position int64, err error) {
	epoch := p.epoch.Load()
	engine := p.engine.Load()
	if engine == nil || !p.ready.Load() {
		return nil, false, 0, ErrViewNotReady
	}
	position = p.position.Load()
	value, found, err = engine.Get(p.view.config.Name, key)
	if err := p.judge(epoch, err); err != nil {
		return nil, false, 0, err
	}
	return value, found, position, nil
}

// judge returns what a read ends with: an error of its own, or ErrViewNotReady if rows vanished under it.
func (p *viewPartition) judge(epoch uint64, err error) error {
	switch {
	case errors.Is(err, store.ErrClosed) || p.epoch.Load() != epoch:
		return ErrViewNotReady
	case errors.Is(err, store.ErrCorrupt):
		p.damaged.Store(true) // the watch has it loaded again, which may have to wait for goka to consume at all
		return fmt.Errorf("%w: %w", ErrViewNotReady, err)
	}
	return err
}

// ViewScan walks the rows of all partitions in the order of their keys' bytes. It belongs to one goroutine and must be
// closed.
type ViewScan struct {
	ctx        context.Context
	heap       []*viewCursor // the partition with the next row first
	cursors    []*viewCursor
	positions  []int64
	descending bool
	started    bool
	rows       int
	err        error
}

// viewCursor is one partition's part of a scan.
type viewCursor struct {
	store.Iterator
	partition *viewPartition
	epoch     uint64
}

// Scan walks the rows with from <= key < to; a nil bound is no bound. Each partition is seen as it was when Scan was
// called. The error wraps ErrViewNotReady.
func (v *View) Scan(ctx context.Context, from, to []byte, descending bool) (*ViewScan, error) {
	return v.scan(ctx, *v.partitions.Load(), from, to, descending)
}

// ScanOf is Scan on some of the partitions only. The scan's positions are in the order of the numbers given.
func (v *View) ScanOf(ctx context.Context, numbers []int32, from, to []byte, descending bool) (*ViewScan, error) {
	partitions := make([]*viewPartition, len(numbers))
	for i, number := range numbers {
		if partitions[i] = v.partition(number); partitions[i] == nil {
			return nil, fmt.Errorf("partition %d: %w", number, ErrViewNotReady)
		}
	}
	return v.scan(ctx, partitions, from, to, descending)
}

func (v *View) scan(ctx context.Context, partitions []*viewPartition, from, to []byte, descending bool) (*ViewScan, error) {
	if len(partitions) == 0 {
		return nil, ErrViewNotReady
	}
	scan := &ViewScan{ctx: ctx, descending: descending, positions: make([]int64, len(partitions))}
	for i, p := range partitions {
		if !p.held.Load() {
			return nil, errors.Join(fmt.Errorf("partition %d: %w", p.number, ErrViewElsewhere), scan.Close())
		}
		epoch := p.epoch.Load()
		engine := p.engine.Load()
		if engine == nil || !p.ready.Load() {
			return nil, errors.Join(ErrViewNotReady, scan.Close())
		}
		scan.positions[i] = p.position.Load()
		scan.cursors = append(scan.cursors, &viewCursor{engine.Range(p.view.config.Name, from, to, descending), p, epoch})
	}
	return scan, nil
}

// Positions returns, by partition, positions that the rows are not older than.
func (s *ViewScan) Positions() []int64 { return s.positions }

// Next moves to the next row and reports whether there is one. False means the end or an error: see Err.
func (s *ViewScan) Next() bool {
	if s.err != nil {
		return false
	}
	if s.rows++; s.rows%viewCheckRows == 0 && !s.sound() {
		return false
	}
	if !s.started {
		s.started = true
		for _, cursor := range s.cursors {
			if cursor.Next() {
				s.heap = append(s.heap, cursor)
			}
		}
		for i := len(s.heap)/2 - 1; i >= 0; i-- {
			s.sink(i)
		}
		return len(s.heap) > 0 || s.ended()
	}
	if len(s.heap) == 0 {
		return s.ended()
	}
	if !s.heap[0].Next() {
		last := len(s.heap) - 1
		s.heap[0] = s.heap[last]
		s.heap = s.heap[:last]
	}
	s.sink(0)
	return len(s.heap) > 0 || s.ended()
}

// ended looks whether the scan came to its end soundly. It returns false, for Next to return.
func (s *ViewScan) ended() bool {
	s.sound()
	return false
}

// sound reports whether the rows so far may be believed and more are wanted.
func (s *ViewScan) sound() bool {
	if err := s.ctx.Err(); err != nil {
		s.err = err
	}
	for _, cursor := range s.cursors {
		if err := cursor.partition.judge(cursor.epoch, cursor.Iterator.Err()); err != nil && s.err == nil {
			s.err = err
		}
	}
	return s.err == nil
}

// sink moves the cursor at i down the heap to where it belongs.
func (s *ViewScan) sink(i int) {
	for {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.heap); child++ {
			if s.before(s.heap[child], s.heap[first]) {
				first = child
			}
		}
		if first == i {
			return
		}
		s.heap[i], s.heap[first] = s.heap[first], s.heap[i]
		i = first
	}
}

func (s *ViewScan) before(a, b *viewCursor) bool {
	if s.descending {
		a, b = b, a
	}
	return bytes.Compare(a.Key(), b.Key()) < 0
}

// Key returns the row's key, valid until the next call of Next or Close and not to be modified.
func (s *ViewScan) Key() []byte { return s.heap[0].Key() }

// Value returns the row's value, valid until the next call of Next or Close and not to be modified.
func (s *ViewScan) Value() []byte { return s.heap[0].Value() }

// Err returns what ended the scan early, or nil.
func (s *ViewScan) Err() error { return s.err }

// Finish reports whether the rows seen so far may be believed, for a scan that is left before its end.
func (s *ViewScan) Finish() error {
	s.sound()
	return s.err
}

// Close releases the snapshots and returns Err. Closing twice is harmless.
func (s *ViewScan) Close() error {
	for _, cursor := range s.cursors {
		// What an iterator has to say is in Err already; afterwards there is nothing left to fail.
		_ = cursor.Iterator.Close()
	}
	s.cursors, s.heap = nil, nil
	return s.err
}

// ViewPartition says where one partition of a view stands. Offsets are of the changelog.
type ViewPartition struct {
	Partition int32
	Ready     bool
	// Position is the next offset to apply: every record below it can be read.
	Position int64
	// End is the last stable offset as last seen, at most about a second ago while the broker can be reached.
	End int64
	// RestoreStart and RestoreEnd bound the offsets of the restore that is running or was the last.
	RestoreStart, RestoreEnd int64
	// Applied counts the records applied since the view was made; Rebuilds the local copies that were not believed.
	Applied, Rebuilds uint64
	// Bytes is roughly what the local copy takes up, where it was asked for.
	Bytes int64
}

// Status returns where the partitions that are held stand, in the order of their numbers. With sizes it asks the disk for theirs.
func (v *View) Status(sizes bool) []ViewPartition {
	partitions := *v.partitions.Load()
	status := make([]ViewPartition, 0, len(partitions))
	for _, p := range partitions {
		if !p.held.Load() {
			continue
		}
		position := p.position.Load()
		told := ViewPartition{
			Partition: p.number, Ready: p.ready.Load(), Position: position, End: max(position, p.stable.Load()),
			RestoreStart: p.start.Load(), RestoreEnd: p.target.Load(), Applied: p.applied.Load(), Rebuilds: p.rebuilds.Load(),
		}
		if engine := p.engine.Load(); sizes && engine != nil {
			// A size that cannot be read is shown as 0: reads report what is wrong with the disk.
			told.Bytes, _ = engine.Size(v.config.Name)
		}
		status = append(status, told)
	}
	return status
}

// Lag returns how many offsets a partition is behind the last stable offset as last seen, markers and compacted records
// counted; 0 for a partition that does not exist.
func (v *View) Lag(number int32) int64 {
	p := v.partition(number)
	if p == nil {
		return 0
	}
	return max(0, p.stable.Load()-p.position.Load())
}

// Position returns the next offset to apply of a partition; 0 for a partition that does not exist.
func (v *View) Position(number int32) int64 {
	if p := v.partition(number); p != nil {
		return p.position.Load()
	}
	return 0
}
