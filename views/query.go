package views

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/store"
)

// Get returns the value of a key, and whether there is one. The error wraps ErrNotReady or ErrDecode, or is the disk's.
func (v *View[K, V]) Get(ctx context.Context, key K) (value V, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return value, false, fmt.Errorf("getting a key of view %s: %w", v.name, err)
	}
	var space [64]byte
	encoded, err := v.keys.Append(space[:0], key)
	if err != nil {
		return value, false, fmt.Errorf("encoding a key of view %s: %w", v.name, err)
	}
	raw, found, _, _, err := v.bridge.Get(encoded)
	if err != nil {
		return value, false, fmt.Errorf("getting a key of view %s: %w", v.name, err)
	}
	if !found {
		return value, false, nil
	}
	if value, err = v.values.Decode(raw); err != nil {
		return value, false, fmt.Errorf("%w: the value of %q in view %s: %w", ErrDecode, encoded, v.name, err)
	}
	return value, true, nil
}

// Query selects rows by their keys' encodings. The zero Query selects all of them, ascending.
type Query[K any] struct {
	// Prefix selects keys whose encoding begins with it: for a row's key the encoding of its first parts, as the partition's
	// by codecs.RowCodec.Partition.
	Prefix []byte
	// From is the lowest key, included; nil is no bound.
	From *K
	// To is the highest key, excluded; nil is no bound.
	To *K
	// Descending has the highest key come first.
	Descending bool
	// Limit bounds the number of rows; 0 is no bound.
	Limit int
	// Cursor goes on after the row at which Rows.Cursor was taken, in the same query but for its limit.
	Cursor string
}

// Rows is the outcome of a query, read once by one goroutine:
//
//	rows := view.Query(ctx, views.Query[string]{Prefix: []byte("a"), Limit: 100})
//	for key, value := range rows.All() {
//		…
//	}
//	if err := rows.Err(); err != nil {
//		return err
//	}
//	next := rows.Cursor()
type Rows[K, V any] struct {
	view   *View[K, V]
	ctx    context.Context
	bounds bounds
	limit  int
	err    error
	last   []byte // the encoded key of the last row given out
	more   bool   // the limit, or the caller, ended the walk before its end
}

// Query returns the rows that q selects, over all partitions in the order of their keys' encodings. Nothing is read before
// All is used; every partition is then seen as it is at that moment. Where all keys that q can select have the same partition
// part (codecs.Rows), only that one partition is read, and only that one has to be restored.
func (v *View[K, V]) Query(ctx context.Context, q Query[K]) *Rows[K, V] {
	rows := &Rows[K, V]{view: v, ctx: ctx, limit: q.Limit}
	rows.bounds, rows.err = v.bounds(q)
	return rows
}

// All returns all rows.
func (v *View[K, V]) All(ctx context.Context) *Rows[K, V] { return v.Query(ctx, Query[K]{}) }

// Range returns the rows with from <= key < to.
func (v *View[K, V]) Range(ctx context.Context, from, to K) *Rows[K, V] {
	return v.Query(ctx, Query[K]{From: &from, To: &to})
}

// Prefix returns the rows whose keys' encodings begin with prefix.
func (v *View[K, V]) Prefix(ctx context.Context, prefix []byte) *Rows[K, V] {
	return v.Query(ctx, Query[K]{Prefix: prefix})
}

// Count returns the number of rows whose keys' encodings begin with prefix; the empty prefix counts all. Prefixes of the
// kinds in Config.Counts, and all rows where there are any, are counted already. Others are walked, which costs what reading
// them does.
func (v *View[K, V]) Count(ctx context.Context, prefix []byte) (int64, error) {
	count, _, err := v.count(ctx, bounds{from: prefix, to: store.PrefixEnd(prefix)})
	return count, err
}

// count returns the number of rows within bounds, and what it is not older than.
func (v *View[K, V]) count(ctx context.Context, b bounds) (count int64, at standing, err error) {
	if end := store.PrefixEnd(b.from); bytes.Equal(end, b.to) && (end == nil) == (b.to == nil) {
		counted, kept, err := v.bridge.Counted(b.from)
		if err != nil {
			return 0, at, fmt.Errorf("counting rows of view %s: %w", v.name, err)
		}
		if kept {
			return counted.Rows, standing{counted.Numbers, counted.Positions}, nil
		}
	}
	scan, numbers, err := v.bridge.ScanWithin(ctx, b.from, b.to, false)
	if err != nil {
		return 0, at, fmt.Errorf("counting rows of view %s: %w", v.name, err)
	}
	defer scan.Close()
	for scan.Next() {
		count++
	}
	if err := scan.Err(); err != nil {
		return 0, at, fmt.Errorf("counting rows of view %s: %w", v.name, err)
	}
	return count, standing{numbers, scan.Positions()}, nil
}

// standing says what rows are not older than: positions, of the partitions with these numbers, nil being all.
type standing struct {
	numbers   []int32
	positions []int64
}

// All walks the rows. Leave the loop at any time; the next page begins at Cursor. Look at Err afterwards.
func (r *Rows[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		r.walk(func(scan *bridge.ViewScan) bool {
			key, value, err := r.view.decode(scan.Key(), scan.Value())
			if err != nil {
				r.err = err
				return false
			}
			return yield(key, value)
		})
	}
}

// walk calls row for each row within the bounds and the limit until it returns false.
func (r *Rows[K, V]) walk(row func(*bridge.ViewScan) bool) (at standing) {
	if r.err != nil {
		return at
	}
	scan, numbers, err := r.view.bridge.ScanWithin(r.ctx, r.bounds.from, r.bounds.to, r.bounds.descending)
	if err != nil {
		r.err = fmt.Errorf("reading view %s: %w", r.view.name, err)
		return at
	}
	defer scan.Close()
	for count := 0; scan.Next(); count++ {
		if r.limit > 0 && count == r.limit {
			r.more = true
			break
		}
		r.last = append(r.last[:0], scan.Key()...)
		if !row(scan) {
			r.more = true
			break
		}
	}
	if err := scan.Finish(); err != nil && r.err == nil {
		r.err = fmt.Errorf("reading view %s: %w", r.view.name, err)
	}
	return standing{numbers, scan.Positions()}
}

// Err returns what ended the walk before its end, or nil. It wraps ErrNotReady, ErrCursor or ErrDecode, or is the
// context's or the disk's.
func (r *Rows[K, V]) Err() error { return r.err }

// Cursor returns the cursor of the next page: after the last row of this one; "" when there are no more rows.
func (r *Rows[K, V]) Cursor() string {
	if !r.more || r.err != nil {
		return ""
	}
	return r.bounds.cursor(r.last)
}

func (v *View[K, V]) decode(rawKey, rawValue []byte) (key K, value V, err error) {
	if key, err = v.keys.Decode(rawKey); err != nil {
		return key, value, fmt.Errorf("%w: the key %q in view %s: %w", ErrDecode, rawKey, v.name, err)
	}
	if value, err = v.values.Decode(rawValue); err != nil {
		return key, value, fmt.Errorf("%w: the value of %q in view %s: %w", ErrDecode, rawKey, v.name, err)
	}
	return key, value, nil
}

// bounds is a query as the store sees it, with what ties its cursors to it.
type bounds struct {
	from, to   []byte // from <= key < to; nil is no bound
	descending bool
	identity   uint64 // of the query without its cursor and limit
}

// bounds translates a query. The error wraps ErrCursor, or says what does not fit together.
func (v *View[K, V]) bounds(q Query[K]) (b bounds, err error) {
	if q.Limit < 0 {
		return b, fmt.Errorf("querying view %s: the limit is %d; it must not be negative", v.name, q.Limit)
	}
	var prefixed bounds
	if len(q.Prefix) > 0 {
		prefixed.from, prefixed.to = slices.Clone(q.Prefix), store.PrefixEnd(q.Prefix)
	}
	if q.From != nil {
		if b.from, err = v.keys.Append([]byte{}, *q.From); err != nil {
			return b, fmt.Errorf("encoding a key of view %s: %w", v.name, err)
		}
	}
	if q.To != nil {
		if b.to, err = v.keys.Append([]byte{}, *q.To); err != nil {
			return b, fmt.Errorf("encoding a key of view %s: %w", v.name, err)
		}
	}
	if prefixed.from != nil { // what lies within both
		if bytes.Compare(prefixed.from, b.from) > 0 {
			b.from = prefixed.from
		}
		if b.to == nil || (prefixed.to != nil && bytes.Compare(prefixed.to, b.to) < 0) {
			b.to = prefixed.to
		}
	}
	b.descending = q.Descending
	b.identity = identity(v.name, b)
	if q.Cursor == "" {
		return b, nil
	}
	last, err := parseCursor(q.Cursor, b.identity)
	if err != nil {
		return b, fmt.Errorf("querying view %s: %w", v.name, err)
	}
	if bytes.Compare(last, b.from) < 0 || (b.to != nil && bytes.Compare(last, b.to) >= 0) {
		return b, fmt.Errorf("querying view %s: %w: it lies outside of the query's range", v.name, ErrCursor)
	}
	if b.descending {
		b.to = last
	} else {
		b.from = append(last, 0)
	}
	return b, nil
}
