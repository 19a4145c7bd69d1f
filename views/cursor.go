package views

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// cursorVersion is the first byte of a cursor: version, eight bytes of the hash of query and last key, the last key.
const cursorVersion = 1

// maxCursor bounds a cursor's text. A key longer than that cannot be paged at, which no URL could carry anyway.
const maxCursor = 64 << 10

// identity hashes what a cursor belongs to: the view, the range and the order, not the limit.
func identity(view string, b bounds) uint64 {
	hash := fnv.New64a()
	write := func(data []byte, present bool) {
		if !present {
			hash.Write([]byte{0})
			return
		}
		hash.Write(binary.AppendUvarint([]byte{1}, uint64(len(data))))
		hash.Write(data)
	}
	write([]byte(view), true)
	write(b.from, b.from != nil)
	write(b.to, b.to != nil)
	write(nil, b.descending)
	return hash.Sum64()
}

// seal hashes a query's identity and a key, so that a cursor is neither changed nor taken to another query unnoticed.
func seal(identity uint64, last []byte) uint64 {
	hash := fnv.New64a()
	hash.Write(binary.BigEndian.AppendUint64(nil, identity))
	hash.Write(last)
	return hash.Sum64()
}

// cursor returns the cursor that goes on after a key.
func (b bounds) cursor(last []byte) string {
	raw := append(make([]byte, 0, 9+len(last)), cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, seal(b.identity, last))
	return base64.RawURLEncoding.EncodeToString(append(raw, last...))
}

// parseCursor returns the key that a cursor goes on after. The error wraps ErrCursor.
func parseCursor(text string, identity uint64) ([]byte, error) {
	if len(text) > maxCursor {
		return nil, fmt.Errorf("%w: %d characters long", ErrCursor, len(text))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 9 || raw[0] != cursorVersion {
		return nil, fmt.Errorf("%w: use one as it was given", ErrCursor)
	}
	if binary.BigEndian.Uint64(raw[1:]) != seal(identity, raw[9:]) {
		return nil, fmt.Errorf("%w: it belongs to another query; change nothing but the limit from page to page", ErrCursor)
	}
	return raw[9:], nil
}
