package store

import (
	"sync"

	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Range implements Engine.
func (e *levelDB) Range(store string, from, to []byte, descending bool) Iterator {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return &emptyIterator{err: ErrClosed}
	}
	prefix, known := e.prefixes[store]
	if !known || isEmptyRange(from, to) {
		return &emptyIterator{}
	}
	span := util.BytesPrefix(prefix)
	if from != nil {
		span.Start = append(prefix[:len(prefix):len(prefix)], from...)
	}
	if to != nil {
		span.Limit = append(prefix[:len(prefix):len(prefix)], to...)
	}
	rows := &levelDBIterator{engine: e, rows: e.db.NewIterator(span, nil), prefix: len(prefix), descending: descending}
	e.iterators.add(rows)
	return rows
}

// levelDBIterator is an Iterator of one goroutine; the engine may release it from another one when it is closed,
// holding its lock exclusively. So every use of rows holds the engine's lock shared.
type levelDBIterator struct {
	engine     *levelDB
	rows       iterator.Iterator // nil once released
	prefix     int               // length of the store's prefix
	descending bool
	begun      bool
	done       bool
	closed     bool
	key, value []byte
	err        error
}

// Next implements Iterator.
func (i *levelDBIterator) Next() bool {
	i.key, i.value = nil, nil
	if i.done || i.closed {
		return false
	}
	i.engine.mu.RLock()
	defer i.engine.mu.RUnlock()
	switch {
	case i.rows == nil:
		i.err, i.done = ErrClosed, true
		return false
	case i.advance():
		i.key, i.value = i.rows.Key()[i.prefix:], i.rows.Value()
		return true
	}
	i.err, i.done = classify(i.rows.Error()), true
	return false
}

func (i *levelDBIterator) advance() bool {
	switch {
	case i.descending && !i.begun:
		i.begun = true
		return i.rows.Last()
	case i.descending:
		return i.rows.Prev()
	}
	return i.rows.Next()
}

// Key implements Iterator.
func (i *levelDBIterator) Key() []byte { return i.key }

// Value implements Iterator.
func (i *levelDBIterator) Value() []byte { return i.value }

// Err implements Iterator.
func (i *levelDBIterator) Err() error { return i.err }

// Close implements Iterator.
func (i *levelDBIterator) Close() error {
	if !i.closed {
		i.closed = true
		i.key, i.value = nil, nil
		i.engine.mu.RLock()
		defer i.engine.mu.RUnlock()
		i.engine.iterators.release(i)
	}
	return i.err
}

// openIterators are the iterators not yet closed.
type openIterators struct {
	mu  sync.Mutex
	all map[*levelDBIterator]struct{} // guarded by mu
}

func (o *openIterators) add(i *levelDBIterator) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[*levelDBIterator]struct{}{}
	}
	o.all[i] = struct{}{}
}

func (o *openIterators) some() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all) > 0
}

func (o *openIterators) release(i *levelDBIterator) {
	o.mu.Lock()
	delete(o.all, i)
	o.mu.Unlock()
	if i.rows != nil {
		i.rows.Release()
		i.rows = nil
	}
}

// releaseAll is called with the engine's lock held exclusively: no iterator is in use.
func (o *openIterators) releaseAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.all {
		i.rows.Release()
		i.rows = nil
	}
	o.all = nil
}

// emptyIterator has no rows.
type emptyIterator struct{ err error }

// Next implements Iterator.
func (*emptyIterator) Next() bool { return false }

// Key implements Iterator.
func (*emptyIterator) Key() []byte { return nil }

// Value implements Iterator.
func (*emptyIterator) Value() []byte { return nil }

// Err implements Iterator.
func (e *emptyIterator) Err() error { return e.err }

// Close implements Iterator.
func (e *emptyIterator) Close() error { return e.err }
