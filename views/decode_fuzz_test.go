package views

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// FuzzReadPart: what another instance answers is read or refused, with no more memory than it sends, and what was read is
// written as it was.
func FuzzReadPart(f *testing.F) {
	p := &part{rows: []partRow{{[]byte("a"), []byte(`{"value":1}`)}, {[]byte("b"), nil}}}
	whole, err := p.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("null\n\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := readPart(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, errPart) {
				t.Errorf("%v is not errPart", err)
			}
			return
		}
		text, err := p.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readPart(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%q comes back as %v", text, err)
		}
		twice, err := again.append(nil)
		if err != nil || !bytes.Equal(text, twice) {
			t.Errorf("%q comes back as %q, %v", text, twice, err)
		}
	})
}

// FuzzCursor: no text panics, and what is taken for a cursor is the one that its key has in its query.
func FuzzCursor(f *testing.F) {
	f.Add(bounds{identity: 7}.cursor([]byte("key")), uint64(7))
	f.Add(bounds{identity: 7}.cursor(nil), uint64(8))
	f.Add("AAAA", uint64(0))
	f.Fuzz(func(t *testing.T, text string, identity uint64) {
		last, err := parseCursor(text, identity)
		if err != nil {
			if !errors.Is(err, ErrCursor) {
				t.Errorf("%v is not ErrCursor", err)
			}
			return
		}
		if again := (bounds{identity: identity}).cursor(last); again != text {
			t.Errorf("%q is the key of %q and of %q", last, text, again)
		}
		if _, err := parseCursor(text, identity+1); !errors.Is(err, ErrCursor) {
			t.Errorf("another query takes it: %v", err)
		}
	})
}

// FuzzParameters: a query string is parsed or refused, and If-None-Match matches a tag only where it names it.
func FuzzParameters(f *testing.F) {
	f.Add("prefix=a&limit=3&order=desc", `"x", W/"y"`)
	f.Add("count&token=a-0-1", "*")
	f.Add("%zz&a=%41;b", `W/"`)
	f.Fuzz(func(t *testing.T, raw, condition string) {
		if _, err := parseParameters(raw); err != nil && len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		const tag = `"5f3c"`
		if matches([]string{condition}, tag) && !bytes.Contains([]byte(condition), []byte(tag)) && !bytes.Contains([]byte(condition), []byte("*")) {
			t.Errorf("%q matches %s", condition, tag)
		}
		if numbers, err := parseNumbers(condition); err == nil {
			if text, err := json.Marshal(numbers); err != nil || len(numbers) == 0 {
				t.Errorf("%q is %s, %v", condition, text, err)
			}
		}
	})
}
