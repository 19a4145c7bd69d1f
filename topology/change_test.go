package topology

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

// TestChangeBytes holds the bytes of docs/format/repartition.md.
func TestChangeBytes(t *testing.T) {
	text, err := os.ReadFile("../docs/format/repartition.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct {
		change Change[string]
		bytes  string
		spaced string
	}{
		{Change[string]{Old: "a", HasOld: true}, "\x01a", "01 61"},
		{Change[string]{New: "b", HasNew: true}, "\x02b", "02 62"},
		{Change[string]{Old: "a", New: "bc", HasOld: true, HasNew: true}, "\x03\x02bca", "03 02 62 63 61"},
	} {
		got, err := changes(codecs.String()).Append([]byte("before"), example.change)
		if err != nil || string(got) != "before"+example.bytes {
			t.Errorf("%+v: got %x, %v", example.change, got, err)
		}
		if !strings.Contains(string(text), "\n    "+example.spaced+"\n") {
			t.Errorf("docs/format/repartition.md has no line %q", example.spaced)
		}
	}
}

// TestChangeErrors leaves dst alone and names what is wrong.
func TestChangeErrors(t *testing.T) {
	bad := "\xff" // no UTF-8
	for _, change := range []Change[string]{
		{Old: bad, HasOld: true}, {New: bad, HasNew: true}, {Old: bad, New: "b", HasOld: true, HasNew: true}, {Old: "a", New: bad, HasOld: true, HasNew: true},
	} {
		got, err := changes(codecs.String()).Append([]byte("before"), change)
		if !errors.Is(err, codecs.ErrUnencodable) || string(got) != "before" {
			t.Errorf("%+v: got %q, %v", change, got, err)
		}
	}
	if changes[string](nil) != nil {
		t.Error("changes of nothing have a codec")
	}
}

// FuzzChange holds the round trip, and that no bytes panic.
func FuzzChange(f *testing.F) {
	f.Add([]byte{3, 2, 'b', 'c', 'a'}, true, true, "old", "new")
	f.Add([]byte{3, 200, 1}, false, true, "", "")
	f.Add([]byte{}, true, false, "x", "")
	f.Add([]byte{0}, false, false, "", "")
	f.Fuzz(func(t *testing.T, data []byte, hasOld, hasNew bool, older, newer string) {
		codec := changes(codecs.Bytes())
		if change, err := codec.Decode(data); err == nil {
			again, err := codec.Append(nil, change)
			if err != nil || len(again) > len(data) {
				t.Errorf("%x decodes to %+v, which encodes to %x, %v", data, change, again, err)
			}
		} else if !errors.Is(err, codecs.ErrMalformed) && !errors.Is(err, codecs.ErrTrailingData) {
			t.Errorf("%x: %v", data, err)
		}
		change := Change[[]byte]{HasOld: hasOld, HasNew: hasNew}
		if hasOld {
			change.Old = []byte(older)
		}
		if hasNew {
			change.New = []byte(newer)
		}
		encoded, err := codec.Append(nil, change)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.Decode(encoded)
		if err != nil || got.HasOld != hasOld || got.HasNew != hasNew || !bytes.Equal(got.Old, change.Old) || !bytes.Equal(got.New, change.New) {
			t.Errorf("got %+v, %v, want %+v", got, err, change)
		}
	})
}
