package store

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDecodeSegment: no header of a set's segment panics or takes more memory than it has bytes for, and what decodes is
// written as it was.
func FuzzDecodeSegment(f *testing.F) {
	f.Add(append([]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 9}, make([]byte, 32)...))
	f.Add([]byte("\xff\xff\xff\xff\x0f\x05\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, header []byte) {
		s, err := decodeSegment(7, header)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		for _, hash := range []uint64{0, 1 << 63, ^uint64(0)} {
			_ = s.filter.has(hash)
			if uint64(s.page(hash)) >= uint64(1)<<s.pageBits {
				t.Errorf("page %d of 2^%d", s.page(hash), s.pageBits)
			}
		}
		again, err := decodeSegment(7, s.header())
		if err != nil || again.entries != s.entries || again.pageBits != s.pageBits || again.expiry != s.expiry || !bytes.Equal(again.header(), s.header()) {
			t.Errorf("%+v comes back as %+v, %v", s, again, err)
		}
	})
}
