package codecs

import (
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Header is one header of a record: a key and bytes, as in Kafka. Several headers may have the same key.
type Header struct {
	// Key names the header.
	Key string
	// Value is what it says; nil and empty are told apart by some readers.
	Value []byte
}

// Keys of the headers that say what a record's body is.
const (
	// HeaderType is the key of the header with the name of the body's type, UTF-8.
	HeaderType = "tidemill-type"
	// HeaderVersion is the key of the header with the body's schema version, a decimal number from 1.
	HeaderVersion = "tidemill-version"
)

// Limits of what headers and envelope carry.
const (
	// MaxTypeLength is the greatest length of a type name in bytes.
	MaxTypeLength = 255
	// MaxVersion is the greatest schema version.
	MaxVersion = math.MaxInt32
)

// AppendHeaders sets [HeaderType] and [HeaderVersion] in dst: headers of those keys are replaced, others kept.
func AppendHeaders(dst []Header, typeName string, version int) ([]Header, error) {
	if err := checkTypeName(typeName); err != nil {
		return dst, fmt.Errorf("writing header %s: %w: %w", HeaderType, ErrUnencodable, err)
	}
	if err := checkVersion(version); err != nil {
		return dst, fmt.Errorf("writing header %s: %w: %w", HeaderVersion, ErrUnencodable, err)
	}
	dst = setHeader(dst, HeaderType, []byte(typeName))
	return setHeader(dst, HeaderVersion, strconv.AppendInt(nil, int64(version), 10)), nil
}

// FromHeaders reads [HeaderType] and [HeaderVersion]. A header that is absent gives "" or 0; of several with one key
// the last counts, as Kafka's clients have it. A name or number that cannot be one is an [ErrMalformed].
func FromHeaders(headers []Header) (typeName string, version int, err error) {
	name, number := findHeaders(headers)
	if name != nil {
		typeName = string(name.Value)
		if err := checkTypeName(typeName); err != nil {
			return "", 0, fmt.Errorf("reading header %s: %w: %w", HeaderType, ErrMalformed, err)
		}
	}
	if number != nil {
		version, err = parseVersion(number.Value)
		if err != nil {
			return "", 0, fmt.Errorf("reading header %s: %w", HeaderVersion, err)
		}
	}
	return typeName, version, nil
}

// findHeaders points to the last header of each key.
func findHeaders(headers []Header) (name, version *Header) {
	for i := len(headers) - 1; i >= 0 && (name == nil || version == nil); i-- {
		switch {
		case name == nil && headers[i].Key == HeaderType:
			name = &headers[i]
		case version == nil && headers[i].Key == HeaderVersion:
			version = &headers[i]
		}
	}
	return name, version
}

// setHeader replaces the last header of a key, drops earlier ones, or appends.
func setHeader(dst []Header, key string, value []byte) []Header {
	found := -1
	for i := len(dst) - 1; i >= 0; i-- {
		switch {
		case dst[i].Key != key:
		case found < 0:
			dst[i].Value = value
			found = i
		default:
			dst = append(dst[:i], dst[i+1:]...)
		}
	}
	if found < 0 {
		dst = append(dst, Header{Key: key, Value: value})
	}
	return dst
}

// parseVersion reads the one text of a version: digits, no sign, no leading zero.
func parseVersion(text []byte) (int, error) {
	version := 0
	for _, digit := range text {
		if digit < '0' || digit > '9' || version > MaxVersion/10 {
			return 0, fmt.Errorf("%w: %.20q is no version number", ErrMalformed, text)
		}
		version = version*10 + int(digit-'0')
	}
	if len(text) == 0 || text[0] == '0' || version > MaxVersion {
		return 0, fmt.Errorf("%w: %.20q is no version number", ErrMalformed, text)
	}
	return version, nil
}

// checkTypeName says what keeps a text from being the name of a type.
func checkTypeName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the type name is empty")
	case len(name) > MaxTypeLength:
		return fmt.Errorf("the type name %.20q… has %d bytes, above the limit of %d", name, len(name), MaxTypeLength)
	case !utf8.ValidString(name):
		return fmt.Errorf("the type name %q is not UTF-8", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("the type name %q has a control character", name)
		}
	}
	return nil
}

// checkVersion says what keeps a number from being a schema version.
func checkVersion(version int) error {
	if version < 1 || version > MaxVersion {
		return fmt.Errorf("schema version %d is not in 1…%d", version, MaxVersion)
	}
	return nil
}
