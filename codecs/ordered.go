package codecs

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Ordered is a [Codec] for parts of keys. Its bytes sort as its values do, and tell themselves where they end, so that
// parts can stand one after another and the beginning of a key selects exactly the keys that begin with its parts. The
// zero Ordered is invalid; see [OrderedString] and its like, [Descending], [ConvertOrdered], [OrderedTuple2]. The bytes
// are those of docs/format/row.md, and learned from FoundationDB's tuple layer and CockroachDB's key encoding.
//
// Each also has a plain encoding, that of the codec which a program without rows would use for a key: [Int64] for
// [OrderedInt64]. It is what decides a row's partition: see [Partitioner].
type Ordered[T any] struct{ part part[T] }

// part is how one type is encoded. Every byte is combined with mask, which is 0, or 0xff for the reverse order; an
// encoding is no prefix of another, so that the complement of the bytes reverses their order.
type part[T any] interface {
	check() error
	append(dst []byte, value T, mask byte) ([]byte, error)
	// length returns how many bytes at the beginning of data are an encoding, as far as that can be told from its shape.
	length(data []byte, mask byte) (int, error)
	// read decodes what length measured.
	read(data []byte, mask byte) (T, error)
	// plain appends the plain encoding of what length measured; what is malformed inside is taken as it is.
	plain(dst, data []byte, mask byte) []byte
	// shape names the encoding.
	shape() string
	// appendTexts encodes as many of the texts as it has parts, from the first on, and returns the others; whole says that it
	// had enough.
	appendTexts(dst []byte, texts []string, mask byte) (encoded []byte, rest []string, whole bool, err error)
}

// Check implements [Checker].
func (o Ordered[T]) Check() error {
	if o.part == nil {
		return fmt.Errorf("%w: the zero Ordered[%s]", ErrInvalidCodec, typeName[T]())
	}
	return o.part.check()
}

// Append implements [Codec].
func (o Ordered[T]) Append(dst []byte, value T) ([]byte, error) {
	if o.part == nil {
		return dst, o.Check()
	}
	encoded, err := o.part.append(dst, value, 0)
	if err != nil {
		return dst, err
	}
	return encoded, nil
}

// Decode implements [Codec].
func (o Ordered[T]) Decode(data []byte) (T, error) {
	var zero T
	if o.part == nil {
		return zero, o.Check()
	}
	length, err := o.part.length(data, 0)
	if err != nil {
		return zero, err
	}
	if length < len(data) {
		return zero, fmt.Errorf("decoding an ordered %s: %w: %d bytes where %d are needed", typeName[T](), ErrTrailingData, len(data), length)
	}
	return o.part.read(data, 0)
}

// PrefixLength implements [Prefixer].
func (o Ordered[T]) PrefixLength(encoded []byte) (length int, whole bool) {
	if o.part == nil {
		return 0, false
	}
	length, err := o.part.length(encoded, 0)
	return length, err == nil
}

// Shape implements [Prefixer].
func (o Ordered[T]) Shape() string {
	if o.part == nil {
		return "invalid"
	}
	return o.part.shape()
}

// Descending returns the codec whose bytes sort the other way round: newest first, dearest first.
func Descending[T any](ordered Ordered[T]) Ordered[T] {
	return Ordered[T]{part: descendingPart[T]{ordered.part}}
}

type descendingPart[T any] struct{ of part[T] }

func (d descendingPart[T]) check() error { return Ordered[T]{d.of}.Check() }

func (d descendingPart[T]) append(dst []byte, value T, mask byte) ([]byte, error) {
	if d.of == nil {
		return dst, d.check()
	}
	return d.of.append(dst, value, ^mask)
}

func (d descendingPart[T]) length(data []byte, mask byte) (int, error) {
	if d.of == nil {
		return 0, d.check()
	}
	return d.of.length(data, ^mask)
}

func (d descendingPart[T]) read(data []byte, mask byte) (T, error) { return d.of.read(data, ^mask) }

func (d descendingPart[T]) plain(dst, data []byte, mask byte) []byte {
	return d.of.plain(dst, data, ^mask)
}

func (d descendingPart[T]) shape() string { return "descending(" + Ordered[T]{d.of}.Shape() + ")" }

// ConvertOrdered returns an ordered codec for B that has the bytes, and so the order, of one for A: for named types and
// enumerations. Both functions must be pure and each other's inverse; an error of to is an [ErrUnencodable], an error of
// from an [ErrMalformed], unless they say otherwise themselves.
func ConvertOrdered[A, B any](ordered Ordered[A], to func(B) (A, error), from func(A) (B, error)) Ordered[B] {
	return Ordered[B]{part: &convertPart[A, B]{of: ordered.part, to: to, from: from}}
}

type convertPart[A, B any] struct {
	of   part[A]
	to   func(B) (A, error)
	from func(A) (B, error)
}

func (c *convertPart[A, B]) check() error {
	if c.to == nil || c.from == nil {
		return fmt.Errorf("%w: ConvertOrdered needs both functions", ErrInvalidCodec)
	}
	return Ordered[A]{c.of}.Check()
}

func (c *convertPart[A, B]) append(dst []byte, value B, mask byte) ([]byte, error) {
	if c.of == nil || c.to == nil || c.from == nil {
		return dst, c.check()
	}
	converted, err := c.to(value)
	if err != nil {
		return dst, classify("converting "+typeName[B]()+" to "+typeName[A](), ErrUnencodable, err)
	}
	return c.of.append(dst, converted, mask)
}

func (c *convertPart[A, B]) length(data []byte, mask byte) (int, error) {
	if c.of == nil || c.to == nil || c.from == nil {
		return 0, c.check()
	}
	return c.of.length(data, mask)
}

func (c *convertPart[A, B]) read(data []byte, mask byte) (B, error) {
	var zero B
	decoded, err := c.of.read(data, mask)
	if err != nil {
		return zero, err
	}
	value, err := c.from(decoded)
	if err != nil {
		return zero, classify("converting "+typeName[A]()+" to "+typeName[B](), ErrMalformed, err)
	}
	return value, nil
}

func (c *convertPart[A, B]) plain(dst, data []byte, mask byte) []byte {
	return c.of.plain(dst, data, mask)
}

func (c *convertPart[A, B]) shape() string { return Ordered[A]{c.of}.Shape() }

// OrderedInt64 returns the codec of 64-bit integers as eight bytes, big-endian with the sign bit flipped, so that the
// bytes sort as the numbers do. They are not what Java's LongSerializer writes; [Int64], the plain encoding, is.
func OrderedInt64() Ordered[int64] { return Ordered[int64]{part: int64Part{}} }

type int64Part struct{}

const signBit = 1 << 63

// maskOf repeats a mask over eight bytes.
func maskOf(mask byte) uint64 { return uint64(mask) * 0x0101010101010101 }

func (int64Part) check() error { return nil }

func (int64Part) append(dst []byte, value int64, mask byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(value)^signBit^maskOf(mask)), nil
}

func (int64Part) length(data []byte, _ byte) (int, error) {
	return fixedLength("an ordered 64-bit integer", 8, len(data))
}

func (int64Part) read(data []byte, mask byte) (int64, error) {
	return int64(binary.BigEndian.Uint64(data) ^ signBit ^ maskOf(mask)), nil
}

func (p int64Part) plain(dst, data []byte, mask byte) []byte {
	value, _ := p.read(data, mask) // any eight bytes are a number
	return binary.BigEndian.AppendUint64(dst, uint64(value))
}

func (int64Part) shape() string { return "int64" }

// OrderedTime returns the codec of times as [OrderedInt64] has the milliseconds since the epoch; times come back in UTC.
// A time with a fraction of a millisecond is an [ErrUnencodable], since it would come back as another; see
// [time.Time.Truncate]. The plain encoding is that of [Int64].
func OrderedTime() Ordered[time.Time] { return Ordered[time.Time]{part: timePart{}} }

type timePart struct{ int64Part }

func (p timePart) append(dst []byte, value time.Time, mask byte) ([]byte, error) {
	milliseconds := value.UnixMilli()
	if !time.UnixMilli(milliseconds).Equal(value) {
		return dst, fmt.Errorf("encoding a time: %w: %v is no whole number of milliseconds, or too far away", ErrUnencodable, value)
	}
	return p.int64Part.append(dst, milliseconds, mask)
}

func (p timePart) read(data []byte, mask byte) (time.Time, error) {
	milliseconds, err := p.int64Part.read(data, mask)
	return time.UnixMilli(milliseconds).UTC(), err
}

// OrderedUUID returns the codec of UUIDs as their 16 bytes, which is the plain encoding too: that of [UUID].
func OrderedUUID[T ~[16]byte]() Ordered[T] { return Ordered[T]{part: uuidPart[T]{}} }

type uuidPart[T ~[16]byte] struct{}

func (uuidPart[T]) check() error { return nil }

func (uuidPart[T]) append(dst []byte, value T, mask byte) ([]byte, error) {
	for _, b := range [16]byte(value) {
		dst = append(dst, b^mask)
	}
	return dst, nil
}

func (uuidPart[T]) length(data []byte, _ byte) (int, error) {
	return fixedLength("an ordered UUID", 16, len(data))
}

func (uuidPart[T]) read(data []byte, mask byte) (T, error) {
	value := [16]byte(data)
	for i := range value {
		value[i] ^= mask
	}
	return T(value), nil
}

func (uuidPart[T]) plain(dst, data []byte, mask byte) []byte {
	for _, b := range data {
		dst = append(dst, b^mask)
	}
	return dst
}

func (uuidPart[T]) shape() string { return "uuid" }

// fixedLength returns want if that many bytes are there.
func fixedLength(what string, want, got int) (int, error) {
	if got < want {
		return 0, wantLength(what, want, got)
	}
	return want, nil
}
