package topology

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
)

// errLeaves says that a new key belongs elsewhere.
var errLeaves = errors.New("the new key is of another partition part than the record's; use the operator that repartitions (SelectKey, ToRows, GroupBy)")

// SelectKeyWithin gives each record the key that f returns, of the same partition part: a row's key for a record under the
// row's partition, or the other way round. So the records stay where they are, and what needs all of a key's records in one
// place needs no repartition. A record whose new key has another partition part goes to the dead-letter topic. Tombstones are
// dropped, as with SelectKey. codec is the new key's.
func (s Stream[K, V]) SelectKeyWithin[L any](f func(K, V) L, codec codecs.Codec[L]) Stream[L, V] {
	out := stateless(s.out, "selectKeyWithin", func(node *graph.Node, next handler[L, V]) handler[K, V] {
		same := newWithin(node, s.key, codec)
		return func(ctx *graph.Context, key K, value V) error {
			if ctx.NullValue {
				return nil
			}
			ctx.At = node
			newKey := f(key, value)
			if ctx.NullKey {
				return processError(node, errNoPlace)
			}
			if err := same.check(key, newKey); err != nil {
				return err
			}
			return next(ctx, newKey, value)
		}
	})
	s.builder.needs(out.node, f != nil, "its function")
	needsKey(s.builder, out.node, s.key)
	needsCodec(s.builder, out.node, codec, "new key", "give one to SelectKeyWithin")
	if s.rekeyed {
		s.builder.problem(out.node, "the key was changed before; repartition the stream, so that a key's records are on its partition")
	}
	return Stream[L, V]{builder: s.builder, out: out, key: codec, value: s.value}
}

// errNoPlace says that a record without a key is on no partition of its own.
var errNoPlace = errors.New("the record has no key; where it is says nothing about its new key")

// ToRows keeps the table's rows under new keys: f returns a row's new key and value. The new rows follow the old ones: an
// update moves a row whose new key is another, a deletion deletes it. name is the store's and mandatory; the changes go
// through <application>-<name>-repartition. With a key of codecs.Rows the new table is one of rows in the order of their
// sort key, all of a partition part together.
//
// f is called for old and new values alike and must return the same for the same row. Different rows need different keys:
// put the row's own key into the sort key, as its last part.
//
//	byTime := orders.ToRows("orders-by-time", func(id string, o order) (codecs.Row[string, timeAndID], order) {
//		return codecs.Row[string, timeAndID]{o.Customer, timeAndID{o.Placed, id}}, o
//	}, codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.OrderedTime(), codecs.OrderedString())), codecs.JSON[order]())
func (t Table[K, V]) ToRows[L, W any](name string, f func(K, V) (L, W), key codecs.Codec[L], value codecs.Codec[W]) Table[L, W] {
	return moved(t, "toRows", f, key, value, true).ToTable(name)
}

// ToRowsWithin is ToRows for new keys of the same partition part as the row's old one, as for other orders of the same
// rows: nothing is repartitioned, and a change shows in both tables at once. A change to a key of another part sends its
// record to the dead-letter topic.
func (t Table[K, V]) ToRowsWithin[L, W any](name string, f func(K, V) (L, W), key codecs.Codec[L], value codecs.Codec[W]) Table[L, W] {
	return moved(t, "toRowsWithin", f, key, value, false).ToTable(name)
}

// moved returns the changes of a table as records under new keys: a tombstone where a row is gone.
func moved[K, V, L, W any](t Table[K, V], operator string, f func(K, V) (L, W), key codec[L], value codec[W], leaves bool) Stream[L, W] {
	out := stateless(t.out, operator, func(node *graph.Node, next handler[L, W]) handler[K, Change[V]] {
		m := &move[K, V, L, W]{node: node, f: f, key: key, next: next}
		if !leaves {
			m.same = newWithin(node, t.key, key)
		}
		return m.handle
	})
	t.builder.needs(out.node, f != nil, "its function")
	needsCodec(t.builder, out.node, key, "key", "give one to "+method(operator))
	needsCodec(t.builder, out.node, value, "value", "give one to "+method(operator))
	if !leaves {
		needsKey(t.builder, out.node, t.key)
	}
	return Stream[L, W]{builder: t.builder, out: out, key: key, value: value, rekeyed: leaves}
}

// move is the toRows operator of one task.
type move[K, V, L, W any] struct {
	node               *graph.Node
	f                  func(K, V) (L, W)
	key                codec[L]
	same               *within[K, L] // nil: new keys may be of other partitions
	next               handler[L, W]
	oldBytes, newBytes []byte // scratch
}

func (m *move[K, V, L, W]) handle(ctx *graph.Context, key K, change Change[V]) error {
	var oldKey, newKey L
	var none, value W
	ctx.At = m.node
	if change.HasOld {
		oldKey, _ = m.f(key, change.Old)
	}
	if change.HasNew {
		newKey, value = m.f(key, change.New)
		if err := m.same.check(key, newKey); err != nil {
			return err
		}
	}
	stays := false
	if change.HasOld && change.HasNew {
		var err error
		if stays, err = m.equal(oldKey, newKey); err != nil {
			return err
		}
	}
	if change.HasOld && !stays {
		ctx.NullValue = true
		err := m.next(ctx, oldKey, none)
		ctx.NullValue = false
		if err != nil {
			return err
		}
	}
	if change.HasNew {
		return m.next(ctx, newKey, value)
	}
	return nil
}

// equal compares keys by their bytes.
func (m *move[K, V, L, W]) equal(a, b L) (bool, error) {
	var err error
	if m.oldBytes, err = m.key.Append(m.oldBytes[:0], a); err == nil {
		m.newBytes, err = m.key.Append(m.newBytes[:0], b)
	}
	if err != nil {
		return false, encodeError(m.node, fmt.Errorf("encoding the new key: %w", err))
	}
	return bytes.Equal(m.oldBytes, m.newBytes), nil
}

// GroupWithin is GroupBy for groups of the same partition part as the rows' keys, as counts and totals of the rows that
// have a beginning of their sort key in common: nothing is repartitioned, and a change shows in the aggregate at once. A
// change of a row in a group of another part sends its record to the dead-letter topic.
//
//	perBucket := byTime.GroupWithin(func(r codecs.Row[string, bucketAndTime], o order) (codecs.Row[string, bucket], order) {
//		return codecs.Row[string, bucket]{r.Partition, r.Sort.First}, o
//	}, codecs.Rows(codecs.OrderedString(), buckets), codecs.JSON[order]()).Count("orders-per-bucket")
func (t Table[K, V]) GroupWithin[L, W any](f func(K, V) (L, W), key codecs.Codec[L], value codecs.Codec[W]) GroupedTable[L, W] {
	return grouped(t, "groupWithin", f, key, value, false)
}

// within checks that new keys are of the same partition part as a record's own. It belongs to one task; nil checks nothing.
type within[K, L any] struct {
	node               *graph.Node
	from               codec[K]
	to                 codec[L]
	fromPlace          placing[K]
	toPlace            placing[L]
	fromBytes, toBytes []byte // scratch
}

func newWithin[K, L any](node *graph.Node, from codec[K], to codec[L]) *within[K, L] {
	return &within[K, L]{node: node, from: from, to: to, fromPlace: newPlacing(from), toPlace: newPlacing(to)}
}

func (w *within[K, L]) check(key K, newKey L) error {
	if w == nil {
		return nil
	}
	var err error
	if w.fromBytes, err = w.from.Append(w.fromBytes[:0], key); err != nil {
		return encodeError(w.node, fmt.Errorf("encoding the key: %w", err))
	}
	if w.toBytes, err = w.to.Append(w.toBytes[:0], newKey); err != nil {
		return encodeError(w.node, fmt.Errorf("encoding the new key: %w", err))
	}
	if !bytes.Equal(w.fromPlace.key(w.fromBytes), w.toPlace.key(w.toBytes)) {
		return processError(w.node, errLeaves)
	}
	return nil
}

// method returns the name of an operator's method.
func method(operator string) string { return strings.ToUpper(operator[:1]) + operator[1:] }
