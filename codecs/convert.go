package codecs

import (
	"fmt"
	"reflect"
)

// Convert returns a codec for B that has the bytes of a codec for A. Both functions must be pure and each other's
// inverse; an error of to is an [ErrUnencodable], an error of from an [ErrMalformed], unless they say otherwise
// themselves.
func Convert[A, B any](codec Codec[A], to func(B) (A, error), from func(A) (B, error)) Codec[B] {
	return &convertCodec[A, B]{codec: codec, to: to, from: from}
}

type convertCodec[A, B any] struct {
	codec Codec[A]
	to    func(B) (A, error)
	from  func(A) (B, error)
}

func (c *convertCodec[A, B]) Check() error {
	if c.to == nil || c.from == nil {
		return fmt.Errorf("%w: Convert needs both functions", ErrInvalidCodec)
	}
	return Check(c.codec)
}

func (c *convertCodec[A, B]) Append(dst []byte, value B) ([]byte, error) {
	if err := c.Check(); err != nil {
		return dst, err
	}
	converted, err := c.to(value)
	if err != nil {
		return dst, classify("converting "+typeName[B]()+" to "+typeName[A](), ErrUnencodable, err)
	}
	return c.codec.Append(dst, converted)
}

func (c *convertCodec[A, B]) Decode(data []byte) (B, error) {
	var zero B
	if err := c.Check(); err != nil {
		return zero, err
	}
	decoded, err := c.codec.Decode(data)
	if err != nil {
		return zero, err
	}
	value, err := c.from(decoded)
	if err != nil {
		return zero, classify("converting "+typeName[A]()+" to "+typeName[B](), ErrMalformed, err)
	}
	return value, nil
}

// partitioner is how the codec's keys choose partitions: their bytes are those of the other codec.
func (c *convertCodec[A, B]) partitioner() Partitioner { return PartitionerOf(c.codec) }

// Variant returns a codec for the interface type T that handles values whose dynamic type is C: the body of one
// [Type] of a [Schema] over several message types. Another dynamic type is an [ErrUnencodable].
func Variant[T, C any](codec Codec[C]) Codec[T] { return variantCodec[T, C]{codec: codec} }

type variantCodec[T, C any] struct{ codec Codec[C] }

func (c variantCodec[T, C]) Check() error {
	if !reflect.TypeFor[C]().AssignableTo(reflect.TypeFor[T]()) {
		return fmt.Errorf("%w: %s is not a %s", ErrInvalidCodec, typeName[C](), typeName[T]())
	}
	return Check(c.codec)
}

func (c variantCodec[T, C]) Append(dst []byte, value T) ([]byte, error) {
	if c.codec == nil {
		return dst, c.Check()
	}
	concrete, ok := any(value).(C)
	if !ok {
		return dst, fmt.Errorf("encoding %T as %s: %w", value, typeName[C](), ErrUnencodable)
	}
	return c.codec.Append(dst, concrete)
}

func (c variantCodec[T, C]) Decode(data []byte) (T, error) {
	var zero T
	if c.codec == nil {
		return zero, c.Check()
	}
	concrete, err := c.codec.Decode(data)
	if err != nil {
		return zero, err
	}
	value, ok := any(concrete).(T)
	if !ok {
		return zero, fmt.Errorf("decoding %s as %s: %w", typeName[C](), typeName[T](), ErrInvalidCodec)
	}
	return value, nil
}

// lenient is the codec with a body that accepts unknown members, if it can be had.
func (c variantCodec[T, C]) lenient() Codec[T] {
	if codec, ok := lenient(c.codec); ok {
		return variantCodec[T, C]{codec: codec}
	}
	return nil
}

// typeName names a type in messages.
func typeName[T any]() string { return reflect.TypeFor[T]().String() }
