package store

import (
	"bytes"
	"maps"
	"sync"
	"sync/atomic"
)

// memory is the Engine without files. Its whole content is one immutable value: a write makes a new one, sharing
// what it left alone, and puts it in place at once. So a batch is atomic and every read a snapshot, without locks.
type memory struct {
	writing sync.Mutex
	edition uint64 // of the trees' nodes that the write in progress may change; guarded by writing
	content atomic.Pointer[memoryContent]
	closed  atomic.Bool
}

type memoryContent struct {
	stores      map[string]memoryStore
	checkpoints map[string]Checkpoint
}

type memoryStore struct {
	root  *treeNode
	bytes int64 // of all keys and values
}

// NewMemory returns an engine that keeps everything in memory and forgets it when closed: for tests, for the
// brokerless driver, and for state that is rebuilt at every start.
func NewMemory() Engine {
	m := &memory{}
	m.content.Store(&memoryContent{})
	return m
}

// change runs a write on a copy of the outer maps and makes the result the engine's content.
func (m *memory) change(write func(content *memoryContent)) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.closed.Load() {
		return ErrClosed
	}
	m.edition++
	now := m.content.Load()
	next := &memoryContent{stores: maps.Clone(now.stores), checkpoints: maps.Clone(now.checkpoints)}
	if next.stores == nil {
		next.stores, next.checkpoints = map[string]memoryStore{}, map[string]Checkpoint{}
	}
	write(next)
	m.content.Store(next)
	return nil
}

// Get implements Engine.
func (m *memory) Get(store string, key []byte) (value []byte, found bool, err error) {
	if m.closed.Load() {
		return nil, false, ErrClosed
	}
	node := m.content.Load().stores[store].root.find(key)
	if node == nil {
		return nil, false, nil
	}
	return append([]byte{}, node.value...), true, nil
}

// Range implements Engine.
func (m *memory) Range(store string, from, to []byte, descending bool) Iterator {
	if m.closed.Load() {
		return &emptyIterator{err: ErrClosed}
	}
	if isEmptyRange(from, to) {
		return &emptyIterator{}
	}
	rows := &memoryIterator{engine: m, descending: descending, from: bytes.Clone(from), to: bytes.Clone(to)}
	rows.seek(m.content.Load().stores[store].root)
	return rows
}

// Apply implements Engine.
func (m *memory) Apply(batch *Batch) error {
	if err := batch.validate(); err != nil {
		return err
	}
	return m.change(func(content *memoryContent) {
		start := uint32(0)
		for i := range batch.operations {
			operation := &batch.operations[i]
			name := batch.stores[operation.store]
			key := batch.data[start:operation.keyEnd]
			rows := content.stores[name]
			old := rows.root.find(key)
			if old != nil {
				rows.bytes -= int64(len(old.key) + len(old.value))
			}
			if operation.delete {
				if old != nil {
					rows.root = rows.root.remove(key, m.edition)
				}
			} else {
				node := newTreeNode(key, batch.data[operation.keyEnd:operation.valueEnd], m.edition)
				rows.root = rows.root.insert(node)
				rows.bytes += int64(operation.valueEnd - start)
			}
			content.stores[name] = rows
			start = operation.valueEnd
		}
		for _, checkpoint := range batch.checkpoints {
			content.checkpoints[checkpoint.Changelog] = checkpoint
		}
	})
}

// Checkpoint implements Engine.
func (m *memory) Checkpoint(changelog string) (Checkpoint, bool) {
	checkpoint, found := m.content.Load().checkpoints[changelog]
	return checkpoint, found
}

// Checkpoints implements Engine.
func (m *memory) Checkpoints() map[string]Checkpoint {
	if checkpoints := maps.Clone(m.content.Load().checkpoints); checkpoints != nil {
		return checkpoints
	}
	return map[string]Checkpoint{}
}

// DeleteStore implements Engine.
func (m *memory) DeleteStore(store, changelog string) error {
	return m.change(func(content *memoryContent) {
		delete(content.stores, store)
		delete(content.checkpoints, changelog)
	})
}

// Size implements Engine.
func (m *memory) Size(store string) (bytes int64, err error) {
	if m.closed.Load() {
		return 0, ErrClosed
	}
	return m.content.Load().stores[store].bytes, nil
}

// Close implements Engine.
func (m *memory) Close() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.closed.CompareAndSwap(false, true) {
		m.content.Store(&memoryContent{checkpoints: m.content.Load().checkpoints})
	}
	return nil
}

// memoryIterator walks a tree nobody changes any more.
type memoryIterator struct {
	engine     *memory
	from, to   []byte
	descending bool
	path       []*treeNode // the next row on top, below it those whose turn comes later
	row        *treeNode   // the current row
	closed     bool
	err        error
}

// seek puts the first row on top of the path, the way there below it.
func (i *memoryIterator) seek(node *treeNode) {
	for node != nil {
		switch {
		case i.descending && i.to != nil && bytes.Compare(node.key, i.to) >= 0:
			node = node.left
		case !i.descending && bytes.Compare(node.key, i.from) < 0:
			node = node.right
		default:
			i.path = append(i.path, node)
			node = node.child(!i.descending)
		}
	}
}

// Next implements Iterator.
func (i *memoryIterator) Next() bool {
	i.row = nil
	if i.closed || i.err != nil || len(i.path) == 0 {
		return false
	}
	if i.engine.closed.Load() {
		i.err = ErrClosed
		return false
	}
	row := i.path[len(i.path)-1]
	i.path = i.path[:len(i.path)-1]
	if i.descending && bytes.Compare(row.key, i.from) < 0 || !i.descending && i.to != nil && bytes.Compare(row.key, i.to) >= 0 {
		i.path = nil
		return false
	}
	for node := row.child(i.descending); node != nil; node = node.child(!i.descending) {
		i.path = append(i.path, node)
	}
	i.row = row
	return true
}

// Key implements Iterator.
func (i *memoryIterator) Key() []byte {
	if i.row == nil {
		return nil
	}
	return i.row.key
}

// Value implements Iterator.
func (i *memoryIterator) Value() []byte {
	if i.row == nil {
		return nil
	}
	return i.row.value
}

// Err implements Iterator.
func (i *memoryIterator) Err() error { return i.err }

// Close implements Iterator.
func (i *memoryIterator) Close() error {
	i.closed, i.row, i.path = true, nil, nil
	return i.err
}
