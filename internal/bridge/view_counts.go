package bridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/store"
)

// viewCounts keeps how many rows of a partition there are under each prefix of the declared kinds, and in all. It belongs
// to the goroutine that applies batches. Counts are rows of a store of their own, written in the batch that writes what they
// count; a mark beside them says of which declaration they are, and at which changelog offset. A nil viewCounts keeps none.
type viewCounts struct {
	prefixes []codecs.Prefixer
	rows     string // the store that is counted
	store    string
	shape    []byte // of the declaration

	present map[string]bool  // of keys that the batch has changed: whether the row is there now
	deltas  map[string]int64 // by the key of a count
	scratch []byte
}

// The keys of the counts' store: the kind of prefix, from 1 in the order of the declaration, and the prefix. Kind 0 counts all
// rows. The mark's key is a byte that is no kind.
const (
	countAll       = 0
	countMark      = 0xff
	maxViewCounts  = 100
	countsVersion  = 1
	countsPerBatch = 4096
)

// countsStore names the store of a view's counts.
func countsStore(view string) string { return view + "#counts" }

func newViewCounts(view string, prefixes []codecs.Prefixer) *viewCounts {
	if len(prefixes) == 0 {
		return nil
	}
	c := &viewCounts{prefixes: prefixes, rows: view, store: countsStore(view), present: map[string]bool{}, deltas: map[string]int64{}}
	c.shape = []byte{countsVersion}
	for _, prefix := range prefixes {
		shape := prefix.Shape()
		c.shape = append(binary.AppendUvarint(c.shape, uint64(len(shape))), shape...)
	}
	return c
}

// change notes that a row is there, or is not, from now on.
func (c *viewCounts) change(engine store.Engine, key []byte, there bool) error {
	if c == nil {
		return nil
	}
	before, known := c.present[string(key)]
	if !known {
		var err error
		if _, before, err = engine.Get(c.rows, key); err != nil {
			return fmt.Errorf("looking for a row to count: %w", err)
		}
	}
	c.present[string(key)] = there
	switch {
	case there && !before:
		c.add(key, 1)
	case !there && before:
		c.add(key, -1)
	}
	return nil
}

// add changes the counts of all prefixes of a key.
func (c *viewCounts) add(key []byte, by int64) {
	c.deltas[string([]byte{countAll})] += by
	for i, prefix := range c.prefixes {
		if length, whole := prefix.PrefixLength(key); whole {
			c.scratch = append(append(c.scratch[:0], byte(i+1)), key[:length]...)
			c.deltas[string(c.scratch)] += by
		}
	}
}

// write adds what has changed to the batch that brings the rows to a changelog offset.
func (c *viewCounts) write(engine store.Engine, batch *store.Batch, offset int64) error {
	if c == nil {
		return nil
	}
	for key, by := range c.deltas {
		if by == 0 {
			continue
		}
		old, err := readCount(engine, c.store, []byte(key))
		if err != nil {
			return err
		}
		c.put(batch, []byte(key), old+by)
	}
	c.forget()
	c.mark(batch, offset)
	return nil
}

// forget drops what a batch that is not applied has changed.
func (c *viewCounts) forget() {
	if c != nil {
		clear(c.deltas)
		clear(c.present)
	}
}

// put writes a count; one of 0 is not kept.
func (c *viewCounts) put(batch *store.Batch, key []byte, count int64) {
	if count == 0 {
		batch.Delete(c.store, key)
		return
	}
	c.scratch = binary.AppendVarint(c.scratch[:0], count)
	batch.Put(c.store, key, c.scratch)
}

// mark notes where the counts stand.
func (c *viewCounts) mark(batch *store.Batch, offset int64) {
	if c != nil {
		c.scratch = append(binary.BigEndian.AppendUint64(c.scratch[:0], uint64(offset)), c.shape...)
		batch.Put(c.store, []byte{countMark}, c.scratch)
	}
}

func readCount(engine store.Engine, name string, key []byte) (int64, error) {
	value, found, err := engine.Get(name, key)
	if err != nil {
		return 0, fmt.Errorf("reading a count of rows: %w", err)
	}
	if !found {
		return 0, nil
	}
	count, n := binary.Varint(value)
	if n != len(value) {
		return 0, fmt.Errorf("a count of rows is % x: %w", value, store.ErrCorrupt)
	}
	return count, nil
}

// settleCounts has the counts be those of the declaration and of the rows at an offset: if they are others, the rows are
// counted anew.
func (p *viewPartition) settleCounts(engine store.Engine, offset int64) error {
	c, name := p.counts, countsStore(p.view.config.Name)
	mark, found, err := engine.Get(name, []byte{countMark})
	if err != nil {
		return fmt.Errorf("reading what rows are counted by: %w", err)
	}
	if c == nil {
		if found {
			return p.dropCounts(engine)
		}
		return nil
	}
	if found && bytes.Equal(mark, append(binary.BigEndian.AppendUint64(nil, uint64(offset)), c.shape...)) {
		return nil
	}
	if err := p.dropCounts(engine); err != nil {
		return err
	}
	rows, err := c.recount(engine, offset)
	if err != nil {
		return fmt.Errorf("counting the rows of partition %d: %w", p.number, err)
	}
	if rows > 0 {
		p.view.log.Info("rows counted", "partition", p.number, "rows", rows)
	}
	return nil
}

// dropCounts removes all counts. The store has no changelog of its own: none of that name has a checkpoint.
func (p *viewPartition) dropCounts(engine store.Engine) error {
	name := countsStore(p.view.config.Name)
	if err := engine.DeleteStore(name, name); err != nil {
		return fmt.Errorf("removing counts of rows: %w", err)
	}
	return nil
}

// recount walks the rows. Those of one prefix are next to each other, so that what is held is one batch of counts; the mark
// is in the last one.
func (c *viewCounts) recount(engine store.Engine, offset int64) (rows int64, err error) {
	batch := store.NewBatch()
	all := engine.Range(c.rows, nil, nil, false)
	defer all.Close()
	type run struct {
		prefix []byte
		count  int64
	}
	runs := make([]run, len(c.prefixes))
	end := func(i int) {
		if runs[i].count > 0 {
			c.put(batch, append([]byte{byte(i + 1)}, runs[i].prefix...), runs[i].count)
		}
		runs[i].count = 0
	}
	for all.Next() {
		rows++
		for i, prefix := range c.prefixes {
			length, whole := prefix.PrefixLength(all.Key())
			if !whole {
				continue
			}
			if !bytes.Equal(runs[i].prefix, all.Key()[:length]) {
				end(i)
				runs[i].prefix = append(runs[i].prefix[:0], all.Key()[:length]...)
			}
			runs[i].count++
		}
		if batch.Len() >= countsPerBatch {
			if err := engine.Apply(batch); err != nil {
				return rows, err
			}
			batch.Reset()
		}
	}
	if err := all.Err(); err != nil {
		return rows, err
	}
	for i := range runs {
		end(i)
	}
	c.put(batch, []byte{countAll}, rows)
	c.mark(batch, offset)
	return rows, engine.Apply(batch)
}

// ViewCount is a number of rows and what it is not older than: positions, of the partitions with these numbers in their
// order.
type ViewCount struct {
	Rows      int64
	Numbers   []int32
	Positions []int64
}

// Counted returns how many rows have keys that begin with a prefix, without walking them. It reports false if the prefix is not
// of a kind that is counted. Where partitions are named, only their rows are counted. The error wraps ErrViewNotReady.
func (v *View) Counted(prefix []byte, only ...int32) (count ViewCount, kept bool, err error) {
	key, kept := v.countKey(prefix)
	if !kept {
		return count, false, nil
	}
	partitions := *v.partitions.Load()
	if number, ok := v.Within(prefix, store.PrefixEnd(prefix)); ok {
		partitions = partitions[number : number+1]
	}
	if len(only) > 0 {
		partitions = slices.DeleteFunc(slices.Clone(partitions), func(p *viewPartition) bool { return !slices.Contains(only, p.number) })
	}
	if len(partitions) == 0 {
		return count, true, ErrViewNotReady
	}
	for _, p := range partitions {
		rows, position, err := p.counted(key)
		if err != nil {
			return count, true, err
		}
		count.Rows += rows
		count.Numbers = append(count.Numbers, p.number)
		count.Positions = append(count.Positions, position)
	}
	return count, true, nil
}

// countKey returns the key of a prefix's count.
func (v *View) countKey(prefix []byte) (key []byte, kept bool) {
	if len(v.config.Counts) > 0 && len(prefix) == 0 {
		return []byte{countAll}, true
	}
	for i, kind := range v.config.Counts {
		if length, whole := kind.PrefixLength(prefix); whole && length == len(prefix) {
			return append([]byte{byte(i + 1)}, prefix...), true
		}
	}
	return nil, false
}

// counted reads one count, as get reads a row.
func (p *viewPartition) counted(key []byte) (rows, position int64, err error) {
	if !p.held.Load() {
		return 0, 0, fmt.Errorf("partition %d: %w", p.number, ErrViewElsewhere)
	}
	epoch := p.epoch.Load()
	engine := p.engine.Load()
	if engine == nil || !p.ready.Load() {
		return 0, 0, ErrViewNotReady
	}
	position = p.position.Load()
	rows, err = readCount(engine, countsStore(p.view.config.Name), key)
	if err := p.judge(epoch, err); err != nil {
		return 0, 0, err
	}
	return rows, position, nil
}
