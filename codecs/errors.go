package codecs

import (
	"errors"
	"fmt"
)

// Errors of this package. Each is wrapped with what was being done; test for them with [errors.Is].
var (
	// ErrMalformed means that the bytes are not an encoding of the type: broken syntax, a wrong length, invalid
	// UTF-8, a member given twice, a number out of range.
	ErrMalformed = errors.New("malformed")

	// ErrTrailingData means that a complete value is followed by further bytes.
	ErrTrailingData = errors.New("data after the value")

	// ErrUnknownField means that a JSON object has a member its type does not know. Allow such members with
	// [AllowUnknown], or keep them with [Enveloped].
	ErrUnknownField = errors.New("unknown field")

	// ErrUnknownType means that a record says it is of a type its schema does not list.
	ErrUnknownType = errors.New("unknown type")

	// ErrNewerVersion means that a record was written under a schema version later than the reader knows. Deploy
	// readers before writers, or let the reader tolerate newer versions.
	ErrNewerVersion = errors.New("newer schema version")

	// ErrUnencodable means that a value has no encoding: NaN as JSON, a string that is not UTF-8, a decimal beyond
	// its limits.
	ErrUnencodable = errors.New("value has no encoding")

	// ErrInvalidCodec means that the codec itself was put together wrongly; see [Checker].
	ErrInvalidCodec = errors.New("invalid codec")
)

// classified reports whether err already carries a sentinel of this package.
func classified(err error) bool {
	for _, sentinel := range [...]error{
		ErrMalformed, ErrTrailingData, ErrUnknownField, ErrUnknownType, ErrNewerVersion, ErrUnencodable, ErrInvalidCodec,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// classify gives err the sentinel kind unless it has one already, and says what was being done.
func classify(doing string, kind, err error) error {
	if classified(err) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, kind, err)
}
