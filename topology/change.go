package topology

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/codecs"
)

// changes returns the codec of a table's changes on their way through a repartition topic, or nil without a codec for the
// values: a byte that says which values follow (1 old, 2 new, 3 both), for both the uvarint length of the new one, then
// the new one and the old one.
func changes[V any](value codec[V]) codec[Change[V]] {
	if value == nil {
		return nil
	}
	return changeCodec[V]{value: codecs.ForStore(value)}
}

type changeCodec[V any] struct{ value codec[V] }

const (
	changeOld  = 1
	changeNew  = 2
	changeBoth = 3
)

// Check implements codecs.Checker.
func (c changeCodec[V]) Check() error { return codecs.Check(c.value) }

// Append implements codecs.Codec.
func (c changeCodec[V]) Append(dst []byte, change Change[V]) ([]byte, error) {
	switch {
	case change.HasOld && change.HasNew:
		return c.appendBoth(dst, change)
	case change.HasOld:
		return c.appendOne(dst, changeOld, change.Old)
	case change.HasNew:
		return c.appendOne(dst, changeNew, change.New)
	}
	return append(dst, 0), nil
}

func (c changeCodec[V]) appendOne(dst []byte, kind byte, value V) ([]byte, error) {
	out, err := c.value.Append(append(dst, kind), value)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (c changeCodec[V]) appendBoth(dst []byte, change Change[V]) ([]byte, error) {
	newer, err := c.value.Append(nil, change.New)
	if err != nil {
		return dst, err
	}
	out := append(dst, changeBoth)
	out = binary.AppendUvarint(out, uint64(len(newer)))
	out = append(out, newer...)
	if out, err = c.value.Append(out, change.Old); err != nil {
		return dst, err
	}
	return out, nil
}

// Decode implements codecs.Codec.
func (c changeCodec[V]) Decode(data []byte) (change Change[V], err error) {
	if len(data) == 0 {
		return change, fmt.Errorf("a change of a table: %w", codecs.ErrMalformed)
	}
	kind, data := data[0], data[1:]
	switch kind {
	case 0:
		if len(data) > 0 {
			return change, fmt.Errorf("a change of a table: %w", codecs.ErrTrailingData)
		}
		return change, nil
	case changeOld:
		change.HasOld = true
		change.Old, err = c.value.Decode(data)
	case changeNew:
		change.HasNew = true
		change.New, err = c.value.Decode(data)
	case changeBoth:
		length, n := binary.Uvarint(data)
		if n <= 0 || length > uint64(len(data)-n) {
			return change, fmt.Errorf("a change of a table, length of the new value: %w", codecs.ErrMalformed)
		}
		change.HasOld, change.HasNew = true, true
		if change.New, err = c.value.Decode(data[n : n+int(length)]); err != nil {
			return change, err
		}
		change.Old, err = c.value.Decode(data[n+int(length):])
	default:
		return change, fmt.Errorf("a change of a table, kind %d: %w", kind, codecs.ErrMalformed)
	}
	return change, err
}
