package codecs

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// A text ends with the two bytes 00 01. A byte 00 inside it is written as 00 ff, above any byte that may follow an end.
const (
	escape     = 0x00
	terminator = 0x01
	escaped    = 0xff
)

// OrderedString returns the ordered codec of strings, by their UTF-8 bytes, which is the order of their code points.
// Invalid UTF-8 is an error both ways. The plain encoding is that of [String].
func OrderedString() Ordered[string] { return OrderedStringOf[string]() }

// OrderedStringOf returns the codec of [OrderedString] for a named string type, such as an identifier.
func OrderedStringOf[T ~string]() Ordered[T] { return Ordered[T]{part: stringPart[T]{}} }

type stringPart[T ~string] struct{ textPart }

func (stringPart[T]) append(dst []byte, value T, mask byte) ([]byte, error) {
	if !utf8.ValidString(string(value)) {
		return dst, fmt.Errorf("encoding an ordered string: %w: not UTF-8", ErrUnencodable)
	}
	return appendText(dst, value, mask), nil
}

func (stringPart[T]) read(data []byte, mask byte) (T, error) {
	body := data[:len(data)-2]
	if mask != 0 || bytes.IndexByte(body, escape) >= 0 {
		body = appendBody(nil, body, mask)
	}
	if !utf8.Valid(body) {
		return "", fmt.Errorf("decoding an ordered string: %w: not UTF-8", ErrMalformed)
	}
	return T(body), nil
}

// OrderedBytes returns the ordered codec of byte slices, as [bytes.Compare] orders them. Decode returns a copy, never
// nil. The plain encoding is that of [Bytes].
func OrderedBytes() Ordered[[]byte] { return Ordered[[]byte]{part: bytesPart{}} }

type bytesPart struct{ textPart }

func (bytesPart) append(dst, value []byte, mask byte) ([]byte, error) {
	return appendText(dst, value, mask), nil
}

func (bytesPart) read(data []byte, mask byte) ([]byte, error) {
	return appendBody(make([]byte, 0, len(data)-2), data[:len(data)-2], mask), nil
}

// textPart is what strings and bytes have in common.
type textPart struct{}

func (textPart) check() error { return nil }

func (textPart) length(data []byte, mask byte) (int, error) {
	for at := 0; ; at += 2 {
		next := bytes.IndexByte(data[at:], escape^mask)
		if next < 0 || at+next+1 >= len(data) {
			return 0, fmt.Errorf("decoding an ordered text: %w: it has no end", ErrMalformed)
		}
		at += next
		switch data[at+1] ^ mask {
		case terminator:
			return at + 2, nil
		case escaped:
		default:
			return 0, fmt.Errorf("decoding an ordered text: %w: the bytes %#02x %#02x", ErrMalformed, data[at], data[at+1])
		}
	}
}

func (textPart) plain(dst, data []byte, mask byte) []byte {
	return appendBody(dst, data[:len(data)-2], mask)
}

func (textPart) shape() string { return "text" }

// appendText appends the text, escaped, and its end.
func appendText[T ~string | ~[]byte](dst []byte, text T, mask byte) []byte {
	for _, b := range []byte(text) {
		dst = append(dst, b^mask)
		if b == escape {
			dst = append(dst, escaped^mask)
		}
	}
	return append(dst, escape^mask, terminator^mask)
}

// appendBody appends the text that an encoding without its end stands for.
func appendBody(dst, body []byte, mask byte) []byte {
	for len(body) > 0 {
		b := body[0] ^ mask
		dst = append(dst, b)
		body = body[1:]
		if b == escape && len(body) > 0 {
			body = body[1:]
		}
	}
	return dst
}
