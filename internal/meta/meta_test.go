package meta_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/meta"
)

// The bytes of docs/format/headers.md. They are in topics that are kept for ever: a change here loses their meaning.
var causes = []struct {
	partition int32
	offset    int64
	bytes     string
}{
	{0, 0, "0000"},
	{3, 1000, "03e807"},
	{127, 128, "7f8001"},
	{128, 127, "80017f"},
	{math.MaxInt32, math.MaxInt64, "ffffffff07ffffffffffffffff7f"},
}

func TestCauseBytes(t *testing.T) {
	for _, c := range causes {
		got := meta.AppendCause(nil, c.partition, c.offset)
		if hex.EncodeToString(got) != c.bytes {
			t.Errorf("AppendCause(%d, %d) = %x, want %s", c.partition, c.offset, got, c.bytes)
		}
		partition, offset, err := meta.ParseCause(got)
		if err != nil || partition != c.partition || offset != c.offset {
			t.Errorf("ParseCause(%s) = %d, %d, %v; want %d, %d", c.bytes, partition, offset, err, c.partition, c.offset)
		}
	}
}

func TestCauseIsAppended(t *testing.T) {
	if got := string(meta.AppendCause([]byte("kept"), 1, 2)); got != "kept\x01\x02" {
		t.Errorf("AppendCause after %q gave %q", "kept", got)
	}
}

func TestCauseMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                   "",
		"partition alone":         "01",
		"partition cut off":       "80",
		"offset cut off":          "0180",
		"bytes after the offset":  "010203",
		"partition above int32":   "808080800801",
		"offset above int64":      "0180808080808080808001",
		"partition beyond uint64": "ffffffffffffffffffffff01",
		"offset beyond uint64":    "01ffffffffffffffffffffff01",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if partition, offset, err := meta.ParseCause(data); !errors.Is(err, meta.ErrMalformed) {
			t.Errorf("%s: ParseCause(%s) = %d, %d, %v; want ErrMalformed", name, text, partition, offset, err)
		}
	}
}

// The texts of docs/format/offset-metadata.md.
var offsets = map[string]meta.Offset{
	"1:0:0":             {},
	"1:1:1700000000000": {Sequence: 1, StreamTime: 1_700_000_000_000},
	"1:7:-1":            {Sequence: 7, StreamTime: -1},
	"1:18446744073709551615:9223372036854775807":  {Sequence: math.MaxUint64, StreamTime: math.MaxInt64},
	"1:18446744073709551615:-9223372036854775808": {Sequence: math.MaxUint64, StreamTime: math.MinInt64},
}

func TestOffsetText(t *testing.T) {
	for text, offset := range offsets {
		if got := offset.String(); got != text {
			t.Errorf("%+v.String() = %q, want %q", offset, got, text)
		}
		if got, err := meta.ParseOffset(text); err != nil || got != offset {
			t.Errorf("ParseOffset(%q) = %+v, %v; want %+v", text, got, err, offset)
		}
	}
}

// A tool that sets offsets leaves the metadata empty.
func TestOffsetEmptyIsZero(t *testing.T) {
	if got, err := meta.ParseOffset(""); err != nil || got != (meta.Offset{}) {
		t.Errorf("ParseOffset of the empty text = %+v, %v; want the zero Offset", got, err)
	}
}

func TestOffsetMalformed(t *testing.T) {
	for _, text := range []string{
		" ", "1", "1:2", "1:2:3:4", "2:1:1", "0:1:1", ":1:1", "1::1", "1:1:", "1:-1:1", "1:x:1", "1:1:x", "1:1:1 ", "1:1.5:1",
		"1:18446744073709551616:1", "1:1:9223372036854775808", "consumed by another tool",
	} {
		if got, err := meta.ParseOffset(text); !errors.Is(err, meta.ErrMalformed) {
			t.Errorf("ParseOffset(%q) = %+v, %v; want ErrMalformed", text, got, err)
		}
	}
}

func TestHeaderNames(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{
		meta.Command, meta.Cause, meta.Fingerprint, meta.Principal, meta.Changelog, meta.DeadTopic, meta.DeadPartition,
		meta.DeadOffset, meta.DeadTimestamp, meta.DeadKind, meta.DeadError, meta.DeadNode,
	} {
		if !strings.HasPrefix(name, meta.Prefix) || seen[name] {
			t.Errorf("header name %q: want the prefix %q, and no other header of that name", name, meta.Prefix)
		}
		seen[name] = true
	}
}

func ExampleAppendCause() {
	fmt.Printf("% x\n", meta.AppendCause(nil, 3, 1000))
	// Output: 03 e8 07
}

func ExampleOffset_String() {
	fmt.Println(meta.Offset{Sequence: 42, StreamTime: 1_700_000_000_000})
	// Output: 1:42:1700000000000
}

func FuzzParseCause(f *testing.F) {
	for _, c := range causes {
		f.Add(meta.AppendCause(nil, c.partition, c.offset))
	}
	f.Add([]byte{0x80, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		partition, offset, err := meta.ParseCause(data)
		if err != nil {
			if !errors.Is(err, meta.ErrMalformed) {
				t.Fatalf("ParseCause(%x): %v does not wrap ErrMalformed", data, err)
			}
			return
		}
		if partition < 0 || offset < 0 {
			t.Fatalf("ParseCause(%x) = %d, %d: below zero", data, partition, offset)
		}
		canonical := meta.AppendCause(nil, partition, offset)
		p, o, err := meta.ParseCause(canonical)
		if err != nil || p != partition || o != offset {
			t.Fatalf("ParseCause(%x) = %d, %d, %v; want %d, %d", canonical, p, o, err, partition, offset)
		}
		if len(canonical) > len(data) || len(canonical) == len(data) && !bytes.Equal(canonical, data) {
			t.Fatalf("%x is written as %x", data, canonical)
		}
	})
}

func FuzzParseOffset(f *testing.F) {
	for text := range offsets {
		f.Add(text)
	}
	f.Add("1:+1:-0")
	f.Fuzz(func(t *testing.T, text string) {
		offset, err := meta.ParseOffset(text)
		if err != nil {
			if !errors.Is(err, meta.ErrMalformed) {
				t.Fatalf("ParseOffset(%q): %v does not wrap ErrMalformed", text, err)
			}
			return
		}
		again, err := meta.ParseOffset(offset.String())
		if err != nil || again != offset {
			t.Fatalf("ParseOffset(%q) = %+v, %v; want %+v", offset.String(), again, err, offset)
		}
	})
}
