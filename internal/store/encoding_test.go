package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

var exampleCheckpoint = Checkpoint{
	Changelog: "calculator-values-changelog", Partition: 3,
	TopicID: [16]byte{0x6f, 0x1d, 0x2c, 0x3b, 0x4a, 0x59, 0x48, 0x77, 0x86, 0x95, 0xa4, 0xb3, 0xc2, 0xd1, 0xe0, 0xff},
	Offset:  120_000, Sequence: 41, StreamTime: 1_795_000_000_000, WrittenAt: 1_795_000_000_250,
}

// exampleCheckpointBytes stands in docs/format/checkpoint.md. A change here is a change of the format.
const exampleCheckpointBytes = "01" + "1b" + "63616c63756c61746f722d76616c7565732d6368616e67656c6f67" + "00000003" +
	"6f1d2c3b4a5948778695a4b3c2d1e0ff" + "000000000001d4c0" + "0000000000000029" + "000001a1ee565e00" + "000001a1ee565efa" + "727bd522"

func TestCheckpointBytes(t *testing.T) {
	encoded := appendCheckpoint([]byte("before"), &exampleCheckpoint)[len("before"):]
	if got := hex.EncodeToString(encoded); got != exampleCheckpointBytes {
		t.Errorf("encoded as\n%s, want\n%s", got, exampleCheckpointBytes)
	}
	for _, c := range []Checkpoint{
		exampleCheckpoint,
		{Changelog: "c"},
		{Changelog: strings.Repeat("n", maxNameLength), Partition: math.MaxInt32, Offset: math.MaxInt64, Sequence: math.MaxUint64, StreamTime: math.MinInt64, WrittenAt: -1},
	} {
		decoded, err := decodeCheckpoint(appendCheckpoint(nil, &c))
		if err != nil || decoded != c {
			t.Errorf("%.40v comes back as %.40v, %v", c, decoded, err)
		}
	}
}

// TestEncodingsDamaged changes every bit of an encoding and cuts it off everywhere.
func TestEncodingsDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		encoded []byte
		decode  func([]byte) error
	}{
		"checkpoint": {appendCheckpoint(nil, &exampleCheckpoint), func(b []byte) error { _, err := decodeCheckpoint(b); return err }},
		"catalog":    {appendCatalog(nil, exampleCatalog()), func(b []byte) error { _, err := decodeCatalog(b); return err }},
		"format":     {appendFormat(nil), checkFormat},
	} {
		if err := c.decode(c.encoded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for bit := range 8 * len(c.encoded) {
			damaged := bytes.Clone(c.encoded)
			damaged[bit/8] ^= 1 << (bit % 8)
			if err := c.decode(damaged); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s with bit %d wrong: %v, want ErrCorrupt", name, bit, err)
			}
		}
		for cut := range c.encoded {
			if err := c.decode(c.encoded[:cut]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut off at %d: %v, want ErrCorrupt", name, cut, err)
			}
		}
		if err := c.decode(append(bytes.Clone(c.encoded), 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with a byte more: %v, want ErrCorrupt", name, err)
		}
	}
}

func exampleCatalog() *catalog {
	return &catalog{next: 200, stores: map[string]uint64{"values": 1, "idempotency": 130, "\x00": 7}, garbage: []uint64{2, 131}}
}

func TestCatalog(t *testing.T) {
	// The example of docs/format/store.md.
	encoded := appendCatalog(nil, &catalog{next: 4, stores: map[string]uint64{"values": 1, "idempotency": 2}, garbage: []uint64{3}})
	want := "0104020b6964656d706f74656e6379020676616c756573010103" + "2f46808c"
	if got := hex.EncodeToString(encoded); got != want {
		t.Errorf("encoded as\n%s, want\n%s", got, want)
	}
	if got := hex.EncodeToString(appendFormat(nil)); got != "01"+"a016d052" {
		t.Errorf("the format record is %s", got)
	}
	c := exampleCatalog()
	decoded, err := decodeCatalog(appendCatalog(nil, c))
	if err != nil || decoded.next != c.next || !maps.Equal(decoded.stores, c.stores) || !slices.Equal(decoded.garbage, c.garbage) {
		t.Errorf("%+v comes back as %+v, %v", c, decoded, err)
	}
	for name, body := range map[string]string{
		"number zero":          "\x05\x01\x01a\x00\x00",
		"number not yet given": "\x05\x01\x01a\x05\x00",
		"number given twice":   "\x05\x02\x01a\x01\x01b\x01\x00",
		"number also garbage":  "\x05\x01\x01a\x01\x01\x01",
		"name twice":           "\x05\x02\x01a\x01\x01a\x02\x00",
		"names out of order":   "\x05\x02\x01b\x01\x01a\x02\x00",
		"empty name":           "\x05\x01\x00\x01\x00",
		"too many names":       "\x05\xff\xff\xff\xff\x0f\x01a\x01\x00",
		"too much garbage":     "\x05\x01\x01a\x01\xff\xff\xff\xff\x0f",
		"name too long":        "\x05\x01\xff\xff\xff\xff\x0fa\x01\x00",
		"no next number":       "",
		"next number zero":     "\x00\x00\x00",
		"more behind":          "\x05\x01\x01a\x01\x00\x00",
	} {
		if c, err := decodeCatalog(appendChecksum([]byte("\x01"+body), 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v, want ErrCorrupt", name, c, err)
		}
	}
}

func TestRowPrefixes(t *testing.T) {
	previous := []byte{}
	for number := uint64(1); number < 1<<15; number++ {
		prefix := rowPrefix(number)
		if prefix[0] == 0 {
			t.Fatalf("the rows of store %d lie among the engine's own", number)
		}
		if bytes.HasPrefix(prefix, previous) && number > 1 {
			t.Fatalf("the prefix of store %d begins with that of %d", number, number-1)
		}
		if len(prefix) > 1 != (number > 127) {
			t.Errorf("the prefix of store %d has %d bytes", number, len(prefix))
		}
		previous = prefix
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{
		"a": "b", "ab": "ac", "a\xff": "b", "a\xff\xff": "b", "\x00": "\x01", "\xfe\xff": "\xff", "a\x00": "a\x01",
	} {
		original := []byte(prefix)
		if got := PrefixEnd(original); string(got) != want || string(original) != prefix {
			t.Errorf("PrefixEnd(%q) = %q, want %q; the prefix is now %q", prefix, got, want, original)
		}
	}
	for _, prefix := range []string{"", "\xff", "\xff\xff\xff"} {
		if got := PrefixEnd([]byte(prefix)); got != nil {
			t.Errorf("PrefixEnd(%q) = %q, want nil", prefix, got)
		}
	}
}

// FuzzDecodeCheckpoint: no input panics, and what decodes comes back the same from its own encoding. The input is
// tried as it is and with a right checksum, which no fuzzer finds.
func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add(appendCheckpoint(nil, &exampleCheckpoint))
	f.Add([]byte("\x01\x01c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, input := range [][]byte{data, appendChecksum(bytes.Clone(data), 0)} {
			c, err := decodeCheckpoint(input)
			if err != nil {
				wantSentinel(t, err)
				continue
			}
			again, err := decodeCheckpoint(appendCheckpoint(nil, &c))
			if err != nil || again != c {
				t.Errorf("%+v comes back as %+v, %v", c, again, err)
			}
		}
	})
}

// FuzzDecodeCatalog is the same for the table of store names.
func FuzzDecodeCatalog(f *testing.F) {
	f.Add(appendCatalog(nil, exampleCatalog()))
	f.Add([]byte("\x01\x05\x02\x01a\x01\x01b\x02\x01\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, input := range [][]byte{data, appendChecksum(bytes.Clone(data), 0)} {
			c, err := decodeCatalog(input)
			if err != nil {
				wantSentinel(t, err)
				continue
			}
			again, err := decodeCatalog(appendCatalog(nil, c))
			if err != nil || again.next != c.next || !maps.Equal(again.stores, c.stores) || !slices.Equal(again.garbage, c.garbage) {
				t.Errorf("%+v comes back as %+v, %v", c, again, err)
			}
		}
	})
}

// FuzzScanLog: no journal or manifest panics the scan, and the intact part of one is intact when scanned by itself.
func FuzzScanLog(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x01"))
	f.Add(make([]byte, logBlockSize+10))
	f.Fuzz(func(t *testing.T, data []byte) {
		count := 0
		file, err := scanLog(data, func(record []byte) error {
			count++
			_, _, _ = manifestSequence(record)
			return nil
		})
		if err != nil || file.intact > len(data) {
			t.Fatalf("%+v, %v of %d bytes", file, err, len(data))
		}
		again, err := scanLog(data[:file.intact], func([]byte) error { count--; return nil })
		if err != nil || again.torn || again.intact != file.intact || count != 0 {
			t.Errorf("the intact part of %+v scans as %+v, %d records fewer, %v", file, again, count, err)
		}
	})
}

func wantSentinel(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
		t.Errorf("%v is neither ErrCorrupt nor ErrNewerFormat", err)
	}
}
