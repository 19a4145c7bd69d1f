package store

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// maxNameLength bounds the names of stores and changelogs, in bytes. Kafka's topic names end at 249; what is longer
// is a mistake.
const maxNameLength = 1024

// Batch gathers puts, deletes and checkpoints of any number of stores, to be applied at once. Operations take effect
// in the order they were added; the last one on a key wins. A batch is tied to no engine and belongs to one
// goroutine. Reset keeps its memory, so that a reused batch allocates nothing.
type Batch struct {
	data        []byte // keys and values, back to back
	operations  []operation
	stores      []string // names in order of first use
	last        int      // index in stores of the last operation's store
	checkpoints []Checkpoint
}

// operation is one put or delete. Its key begins where the operation before it ends.
type operation struct {
	keyEnd, valueEnd uint32
	store            uint16 // index in Batch.stores
	delete           bool
}

// A batch is refused above these: its operations have no room for more.
const (
	maxBatchBytes  = math.MaxUint32
	maxBatchStores = math.MaxUint16
)

// NewBatch returns an empty batch.
func NewBatch() *Batch { return &Batch{} }

// Put sets the value of a key. Key and value are copied.
func (b *Batch) Put(store string, key, value []byte) {
	b.data = append(b.data, key...)
	keyEnd := len(b.data)
	b.data = append(b.data, value...)
	b.operations = append(b.operations, operation{keyEnd: uint32(keyEnd), valueEnd: uint32(len(b.data)), store: b.index(store)})
}

// putRoom puts a key with a value of so many bytes, which the caller fills in where they begin in b.data.
func (b *Batch) putRoom(store string, key []byte, size int) (begin int) {
	b.data = append(b.data, key...)
	begin = len(b.data)
	b.data = slices.Grow(b.data, size)[:begin+size]
	b.operations = append(b.operations, operation{keyEnd: uint32(begin), valueEnd: uint32(len(b.data)), store: b.index(store)})
	return begin
}

// Delete removes a key; that there is none is no error. The key is copied.
func (b *Batch) Delete(store string, key []byte) {
	b.data = append(b.data, key...)
	end := uint32(len(b.data))
	b.operations = append(b.operations, operation{keyEnd: end, valueEnd: end, store: b.index(store), delete: true})
}

// SetCheckpoint records where the rows of a changelog stand once the batch is applied.
func (b *Batch) SetCheckpoint(checkpoint Checkpoint) {
	for i := range b.checkpoints {
		if b.checkpoints[i].Changelog == checkpoint.Changelog {
			b.checkpoints[i] = checkpoint
			return
		}
	}
	b.checkpoints = append(b.checkpoints, checkpoint)
}

// Len returns the number of puts and deletes. A batch of length 0 may still carry checkpoints.
func (b *Batch) Len() int { return len(b.operations) }

// Bytes returns the size of the keys and values added, a measure for when to apply a growing batch.
func (b *Batch) Bytes() int { return len(b.data) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.data = b.data[:0]
	b.operations = b.operations[:0]
	b.stores = b.stores[:0]
	b.last = 0
	b.checkpoints = b.checkpoints[:0]
}

// operationBytes is the memory that an operation takes besides its key and value.
const operationBytes = 12

// memory returns how many bytes the batch holds.
func (b *Batch) memory() int { return len(b.data) + operationBytes*len(b.operations) }

// Grow makes room for so many more operations, and bytes of their keys and values: a batch whose size is known beforehand need
// not grow step by step.
func (b *Batch) Grow(bytes, operations int) {
	b.data = slices.Grow(b.data, bytes)
	b.operations = slices.Grow(b.operations, operations)
}

// clone returns a copy that shares nothing with the batch and has no memory to spare.
func (b *Batch) clone() *Batch {
	return &Batch{
		data: bytes.Clone(b.data), operations: slices.Clone(b.operations), stores: slices.Clone(b.stores), checkpoints: slices.Clone(b.checkpoints),
	}
}

// bytesOf returns the size of the keys and values put into a store.
func (b *Batch) bytesOf(store string) (size int64) {
	number, start := slices.Index(b.stores, store), uint32(0)
	for i := range b.operations {
		op := &b.operations[i]
		if int(op.store) == number && !op.delete {
			size += int64(op.valueEnd - start)
		}
		start = op.valueEnd
	}
	return size
}

// index returns the position of a store's name, adding it when it is new. Runs of operations on one store are the
// rule and a task has a handful of stores, so that comparing beats a map.
func (b *Batch) index(store string) uint16 {
	if b.last < len(b.stores) && b.stores[b.last] == store {
		return uint16(b.last)
	}
	for i, name := range b.stores {
		if name == store {
			b.last = i
			return uint16(i)
		}
	}
	b.last = len(b.stores)
	b.stores = append(b.stores, store)
	return uint16(b.last)
}

// empty reports whether applying the batch would change nothing.
func (b *Batch) empty() bool { return len(b.operations) == 0 && len(b.checkpoints) == 0 }

// validate returns an ErrInvalid for what no engine may store.
func (b *Batch) validate() error {
	if uint64(len(b.data)) > maxBatchBytes || len(b.stores) > maxBatchStores {
		return fmt.Errorf("%w: a batch of %d bytes in %d stores; at most %d and %d are allowed", ErrInvalid, len(b.data), len(b.stores), uint64(maxBatchBytes), maxBatchStores)
	}
	for _, name := range b.stores {
		if err := validateName("store", name); err != nil {
			return err
		}
	}
	for i := range b.checkpoints {
		if err := b.checkpoints[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func validateName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name of a %s is empty", ErrInvalid, kind)
	case len(name) > maxNameLength:
		return fmt.Errorf("%w: the name of a %s has %d bytes, at most %d are allowed: %.40q…", ErrInvalid, kind, len(name), maxNameLength, name)
	}
	return nil
}
