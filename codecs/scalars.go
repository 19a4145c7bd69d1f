package codecs

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// String returns the codec of strings as their UTF-8 bytes, as Java's StringSerializer writes them. Invalid UTF-8 is
// an error both ways: a text that passes through JSON later would come back as another key.
func String() Codec[string] { return stringCodec[string]{} }

// StringOf returns the codec of [String] for a named string type, such as an identifier.
func StringOf[T ~string]() Codec[T] { return stringCodec[T]{} }

type stringCodec[T ~string] struct{}

func (stringCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	if !utf8.ValidString(string(value)) {
		return dst, fmt.Errorf("encoding a string: %w: not UTF-8", ErrUnencodable)
	}
	return notNil(append(dst, value...)), nil
}

func (stringCodec[T]) Decode(data []byte) (T, error) {
	if !utf8.Valid(data) {
		return "", fmt.Errorf("decoding a string: %w: not UTF-8", ErrMalformed)
	}
	return T(data), nil
}

// Bytes returns the codec of byte slices as they are. Decode returns a copy, never nil.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) Append(dst, value []byte) ([]byte, error) {
	return notNil(append(dst, value...)), nil
}

func (bytesCodec) Decode(data []byte) ([]byte, error) {
	return append(make([]byte, 0, len(data)), data...), nil
}

// Int64 returns the codec of 64-bit integers as eight bytes, big-endian two's complement: the bytes of Java's
// LongSerializer. Negative numbers sort after positive ones; use [OrderedInt64] where the order of bytes matters.
func Int64() Codec[int64] { return int64Codec{} }

type int64Codec struct{}

func (int64Codec) Append(dst []byte, value int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(value)), nil
}

func (int64Codec) Decode(data []byte) (int64, error) {
	if err := wantLength("a 64-bit integer", 8, len(data)); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(data)), nil
}

// Int32 returns the codec of 32-bit integers as four bytes, big-endian two's complement: the bytes of Java's
// IntegerSerializer.
func Int32() Codec[int32] { return int32Codec{} }

type int32Codec struct{}

func (int32Codec) Append(dst []byte, value int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(value)), nil
}

func (int32Codec) Decode(data []byte) (int32, error) {
	if err := wantLength("a 32-bit integer", 4, len(data)); err != nil {
		return 0, err
	}
	return int32(binary.BigEndian.Uint32(data)), nil
}

// Float64 returns the codec of 64-bit floating-point numbers as the eight big-endian bytes of IEEE 754, as Java's
// DoubleSerializer writes them. The bits are kept, also those of NaN and of negative zero.
func Float64() Codec[float64] { return float64Codec{} }

type float64Codec struct{}

func (float64Codec) Append(dst []byte, value float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(value)), nil
}

func (float64Codec) Decode(data []byte) (float64, error) {
	if err := wantLength("a 64-bit float", 8, len(data)); err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(data)), nil
}

// Bool returns the codec of booleans as one byte, 0 or 1, as Java's BooleanSerializer writes them. Any other byte is
// an error.
func Bool() Codec[bool] { return boolCodec{} }

type boolCodec struct{}

func (boolCodec) Append(dst []byte, value bool) ([]byte, error) {
	if value {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func (boolCodec) Decode(data []byte) (bool, error) {
	if err := wantLength("a boolean", 1, len(data)); err != nil {
		return false, err
	}
	if data[0] > 1 {
		return false, fmt.Errorf("decoding a boolean: %w: byte %#02x is neither 0 nor 1", ErrMalformed, data[0])
	}
	return data[0] == 1, nil
}

// UUID returns the codec of UUIDs as their 16 bytes. It takes the type of any UUID library: all of them, the standard
// library's uuid.UUID among them, are arrays of 16 bytes. Java's UUIDSerializer writes the 36-character text instead;
// use [String] to exchange keys with it.
func UUID[T ~[16]byte]() Codec[T] { return uuidCodec[T]{} }

type uuidCodec[T ~[16]byte] struct{}

func (uuidCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	bytes := [16]byte(value)
	return append(dst, bytes[:]...), nil
}

func (uuidCodec[T]) Decode(data []byte) (T, error) {
	if err := wantLength("a UUID", 16, len(data)); err != nil {
		return T{}, err
	}
	return T([16]byte(data)), nil
}

// Void returns the codec of the empty struct as no bytes at all: for records where only the key or only the fact
// matters, as in a table used as a set.
func Void() Codec[struct{}] { return voidCodec{} }

type voidCodec struct{}

func (voidCodec) Append(dst []byte, _ struct{}) ([]byte, error) { return notNil(dst), nil }

func (voidCodec) Decode(data []byte) (struct{}, error) {
	return struct{}{}, wantLength("nothing", 0, len(data))
}

// wantLength compares a length with the fixed length of an encoding.
func wantLength(what string, want, got int) error {
	switch {
	case got < want:
		return fmt.Errorf("decoding %s: %w: %d bytes where %d are needed", what, ErrMalformed, got, want)
	case got > want:
		return fmt.Errorf("decoding %s: %w: %d bytes where %d are needed", what, ErrTrailingData, got, want)
	}
	return nil
}
