package topology

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// errRow says that a row is not what this package writes.
var errRow = errors.New("malformed row of a timestamped store")

// row is a decoded row of a materialized table: the value and the timestamp of the record that made it, in milliseconds.
type row[V any] struct {
	value     V
	timestamp int64
}

// rows are the rows of a materialized table in one task: typed, with the hot ones decoded.
type rows[K, V any] struct {
	node  *graph.Node
	state graph.State
	key   codec[K]
	value codec[V]
	cache *cache[row[V]]

	keyBytes, rowBytes []byte // scratch; keyBytes is the last loaded row's key
}

func openRows[K, V any](ctx *graph.Context, node *graph.Node, store *graph.Store, key codec[K], value codec[V]) (*rows[K, V], error) {
	r := &rows[K, V]{
		node: node, state: ctx.State(store.Name), key: key, value: codecs.ForStore(value), cache: newCache[row[V]](ctx.CacheBytes),
	}
	if r.state == nil {
		return nil, fmt.Errorf("%s: store %s is not part of the task", node.Name, store.Name)
	}
	ctx.OnEvict(r.cache.evict)
	return r, nil
}

// load returns the row of a key, to which put and remove then refer.
func (r *rows[K, V]) load(key K) (found row[V], ok bool, err error) {
	if r.keyBytes, err = r.key.Append(r.keyBytes[:0], key); err != nil {
		return found, false, encodeError(r.node, fmt.Errorf("encoding the key: %w", err))
	}
	if found, ok = r.cache.get(r.keyBytes); ok {
		return found, true, nil
	}
	found, size, err := r.read()
	if size > 0 {
		r.cache.put(r.keyBytes, found, size)
	}
	return found, size > 0, err
}

// read decodes the row of the last loaded key from its bytes, of which there are size, 0 if there is no row.
func (r *rows[K, V]) read() (found row[V], size int, err error) {
	data, ok, err := r.state.Get(r.keyBytes)
	if err != nil || !ok {
		return found, 0, err
	}
	timestamp, value, whole := graph.SplitRow(data)
	if !whole {
		return found, 0, fmt.Errorf("%s: key %q: %w", r.node.Name, r.keyBytes, errRow)
	}
	found.timestamp = timestamp
	if found.value, err = r.value.Decode(value); err != nil {
		return found, 0, fmt.Errorf("%s: decoding the row of %q: %w", r.node.Name, r.keyBytes, err)
	}
	return found, len(data), nil
}

// former returns a row's value for Change.Old. A function that changes a map or a slice in place must not change what is
// said about the past: where values share memory, the old one is decoded again.
func (r *rows[K, V]) former(current row[V], ok, observed bool) (V, error) {
	if !ok || !observed || r.cache != nil {
		return current.value, nil
	}
	again, _, err := r.read()
	return again.value, err
}

// put writes the row of the last loaded key. The value is encoded here: nothing that is changed later in place can reach it.
func (r *rows[K, V]) put(value V, timestamp int64) error {
	var err error
	if r.rowBytes, err = r.value.Append(graph.AppendRow(r.rowBytes[:0], timestamp), value); err != nil {
		return encodeError(r.node, fmt.Errorf("encoding the row: %w", err))
	}
	r.state.Put(r.keyBytes, r.rowBytes, nil)
	r.cache.put(r.keyBytes, row[V]{value: value, timestamp: timestamp}, len(r.rowBytes))
	return nil
}

// remove deletes the row of the last loaded key.
func (r *rows[K, V]) remove() {
	r.cache.remove(r.keyBytes)
	r.state.Put(r.keyBytes, nil, nil)
}
