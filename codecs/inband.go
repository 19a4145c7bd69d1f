package codecs

import (
	"encoding/binary"
	"fmt"
)

// Magic is the first byte of an in-band envelope of format 1. It occurs nowhere in UTF-8, so no JSON or other text
// begins with it, and it is not the zero byte that schema registries use.
const Magic = 0xF7

// AppendEnvelope adds an envelope to dst: [Magic], the length of the type name as an unsigned varint, the name, the
// version as an unsigned varint, and the body. The bytes are laid down in docs/format/envelope.md.
func AppendEnvelope(dst []byte, typeName string, version int, body []byte) ([]byte, error) {
	if err := checkTypeName(typeName); err != nil {
		return dst, fmt.Errorf("writing an envelope: %w: %w", ErrUnencodable, err)
	}
	if err := checkVersion(version); err != nil {
		return dst, fmt.Errorf("writing an envelope: %w: %w", ErrUnencodable, err)
	}
	return append(appendPrefix(dst, typeName, version), body...), nil
}

// appendPrefix adds all of an envelope but its body.
func appendPrefix(dst []byte, typeName string, version int) []byte {
	dst = append(dst, Magic)
	dst = binary.AppendUvarint(dst, uint64(len(typeName)))
	dst = append(dst, typeName...)
	return binary.AppendUvarint(dst, uint64(version))
}

// ParseEnvelope takes an envelope apart. The body is the rest of data, not a copy.
func ParseEnvelope(data []byte) (typeName string, version int, body []byte, err error) {
	name, version, body, err := parseEnvelope(data)
	if err == nil {
		if fault := checkTypeName(string(name)); fault != nil {
			err = fmt.Errorf("reading an envelope: %w: %w", ErrMalformed, fault)
		}
	}
	if err != nil {
		return "", 0, nil, err
	}
	return string(name), version, body, nil
}

// parseEnvelope takes an envelope apart without a copy and without a look at the name's characters: a name that is
// looked up in a schema is checked by being found.
func parseEnvelope(data []byte) (name []byte, version int, body []byte, err error) {
	if len(data) == 0 || data[0] != Magic {
		return nil, 0, nil, fmt.Errorf("reading an envelope: %w: it does not begin with %#02x", ErrMalformed, Magic)
	}
	length, rest, err := takeUvarint(data[1:], "the length of the type name", MaxTypeLength)
	if err != nil {
		return nil, 0, nil, err
	}
	if length > len(rest) {
		return nil, 0, nil, fmt.Errorf("reading an envelope: %w: it ends within the type name", ErrMalformed)
	}
	name, rest = rest[:length:length], rest[length:]
	version, body, err = takeUvarint(rest, "the version", MaxVersion)
	if err != nil {
		return nil, 0, nil, err
	}
	return name, version, body, nil
}

// takeUvarint reads a number in 1…limit from the start of data. Longer encodings of the same number are refused, so
// that an envelope has one form only.
func takeUvarint(data []byte, what string, limit uint64) (int, []byte, error) {
	number, n := binary.Uvarint(data)
	if n <= 0 || number < 1 || number > limit || n > 1 && data[n-1] == 0 {
		return 0, nil, fmt.Errorf("reading an envelope: %w: %s is no number in 1…%d", ErrMalformed, what, limit)
	}
	return int(number), data[n:], nil
}

// parts finds type, version and body of in-band bytes.
func (r *resolved[T]) parts(data []byte) (*resolvedType[T], int, []byte, error) {
	if r.err != nil {
		return nil, 0, nil, r.err
	}
	if r.acceptBare && (len(data) == 0 || data[0] != Magic) {
		return r.standard, 1, data, nil
	}
	name, version, body, err := parseEnvelope(data)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("decoding %s: %w", typeName[T](), err)
	}
	t, err := r.typeNamed(name)
	return t, version, body, err
}
