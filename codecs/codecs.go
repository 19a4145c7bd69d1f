// Package codecs turns keys, values and messages into bytes and back.
//
// A [Codec] is append-style: it adds the encoding of a value to a buffer the caller owns, so a hot path reuses one
// buffer for many records. The codecs here are:
//
//   - [JSON] for structured values, strict where strictness saves data, built on encoding/json/v2;
//   - [String], [Bytes], [Int32], [Int64], [Float64], [Bool] and [Void], whose bytes equal those of the Java client's
//     serializers, so that a key written by a Java program and one written here land on the same partition;
//   - [Rows] for keys of a partition and a sort key, put together from [Ordered] parts, whose bytes sort as the values do:
//     [OrderedString], [OrderedInt64], [OrderedTime], [OrderedDecimal], [OrderedTuple2], [Descending] and others;
//   - [UUID] as 16 bytes and [DecimalText] for exact decimals;
//   - [Versioned] and [Enveloped], which add a type name and a schema version, in record headers or in the bytes.
//
// Every codec is safe for concurrent use. No input makes a codec of this package panic: bytes that are not an
// encoding give an error that wraps one of the sentinels of this package. A codec of your own is checked with the
// conformance suite in package codectest.
package codecs

// Codec translates values of one type to bytes and back.
//
// Implementations are safe for concurrent use and pure: equal values give equal bytes, today and after a restart,
// because keys are partitioned and stores are compared by their bytes.
type Codec[T any] interface {
	// Append adds the encoding of value to dst and returns the extended slice. It never changes dst[:len(dst)].
	// The result is never nil when the error is: an empty encoding is an empty slice, since a nil value of a record
	// is a tombstone. On an error the result is dst as it was given.
	Append(dst []byte, value T) ([]byte, error)

	// Decode reads exactly one value from the whole of data. It neither changes data nor keeps a reference to it:
	// strings and byte slices in the result are copies.
	Decode(data []byte) (T, error)
}

// HeaderCodec is a [Codec] that also speaks through record headers, for example to carry a schema version while the
// body stays plain. Whoever reads or writes records asks for this interface and uses it where the codec has it; where
// there are no headers, as in a state store, the plain methods are used.
type HeaderCodec[T any] interface {
	Codec[T]

	// AppendHeaders sets the headers that belong to value: a header of dst with the same key is replaced, others are
	// kept. The bytes of the headers it adds are shared between records and must not be changed.
	AppendHeaders(dst []Header, value T) []Header

	// DecodeWithHeaders is Decode with the record's headers at hand. It keeps no reference to them.
	DecodeWithHeaders(headers []Header, data []byte) (T, error)
}

// Checker is implemented by codecs that are assembled from parts which may not fit together, as a schema whose
// upcasters leave a gap. Such a codec is built without an error, so that it can stand in a declaration; Check reports
// what is wrong with it, and until it is put right Append and Decode give the same error.
type Checker interface {
	// Check reports every fault of the codec, joined, or nil.
	Check() error
}

// InBander is implemented by header codecs that can also carry what their headers say within the bytes. A state
// store keeps no headers, so it uses the codec that InBand returns.
type InBander[T any] interface {
	// InBand returns the codec that writes type and version in front of the body.
	InBand() Codec[T]
}

// Check reports what is wrong with a codec: nil if it is no [Checker]. A nil codec is an error.
func Check[T any](codec Codec[T]) error {
	if codec == nil {
		return ErrInvalidCodec
	}
	if checker, ok := codec.(Checker); ok {
		return checker.Check()
	}
	return nil
}

// ForStore returns the codec to use where a value is kept without headers: the in-band form of an [InBander], and any
// other codec as it is.
func ForStore[T any](codec Codec[T]) Codec[T] {
	if inBander, ok := codec.(InBander[T]); ok {
		return inBander.InBand()
	}
	return codec
}

// notNil keeps the promise of Append that an encoding is never a nil slice.
func notNil(encoded []byte) []byte {
	if encoded == nil {
		return []byte{}
	}
	return encoded
}
