package codectest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

// recorder is a testing.TB that notes failures instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, arguments ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, arguments...))
}

// brokenCodec is the codec of strings with one fault.
type brokenCodec struct {
	append func(dst []byte, value string) ([]byte, error)
	decode func(data []byte) (string, error)
}

func (c brokenCodec) Append(dst []byte, value string) ([]byte, error) {
	if c.append != nil {
		return c.append(dst, value)
	}
	return codecs.String().Append(dst, value)
}

func (c brokenCodec) Decode(data []byte) (string, error) {
	if c.decode != nil {
		return c.decode(data)
	}
	return codecs.String().Decode(data)
}

func TestConformFindsFaults(t *testing.T) {
	calls := 0
	for name, test := range map[string]struct {
		codec brokenCodec
		want  string
	}{
		"nil for empty": {brokenCodec{append: func(dst []byte, value string) ([]byte, error) {
			return append(dst, value...), nil
		}}, "tombstone"},
		"overwrites the buffer": {brokenCodec{append: func(dst []byte, value string) ([]byte, error) {
			return append(append(dst[:0], "X"...), value...), nil
		}}, "buffer"},
		"not deterministic": {brokenCodec{append: func(dst []byte, value string) ([]byte, error) {
			calls++
			return fmt.Appendf(dst, "%d%s", calls, value), nil
		}}, "after other bytes"},
		"lossy": {brokenCodec{append: func(dst []byte, value string) ([]byte, error) {
			return append(dst, strings.ToLower(value)+"."...), nil
		}}, "gave"},
		"changes its input": {brokenCodec{decode: func(data []byte) (string, error) {
			text := string(data)
			clear(data)
			return text, nil
		}}, "changed its input"},
		"panics": {brokenCodec{decode: func(data []byte) (string, error) {
			if len(data) > 0 && data[0] > 'z' {
				panic("no such letter")
			}
			return codecs.String().Decode(data)
		}}, "panics"},
	} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			codectest.Conform(&r, test.codec, "", "Abc", "def")
			if len(r.failures) == 0 || !strings.Contains(r.failures[0], test.want) {
				t.Errorf("reported %q, want something with %q", r.failures, test.want)
			}
		})
	}
}

// aliasCodec keeps a reference to its input.
type aliasCodec struct{ codecs.Codec[[]byte] }

func (aliasCodec) Decode(data []byte) ([]byte, error) { return data, nil }

func TestConformFindsAliasing(t *testing.T) {
	var r recorder
	codectest.Conform[[]byte](&r, aliasCodec{codecs.Bytes()}, []byte("abc"))
	if len(r.failures) == 0 || !strings.Contains(r.failures[0], "reference") {
		t.Errorf("reported %q, want that a reference is kept", r.failures)
	}
}

func TestSuiteFindsMissingRefusals(t *testing.T) {
	var r recorder
	codectest.Suite[string]{
		Codec: codecs.String(), Values: []string{"a"}, Malformed: [][]byte{[]byte("fine")}, Unencodable: []string{"fine"},
	}.Run(&r)
	if len(r.failures) != 2 {
		t.Errorf("reported %q, want two refusals missed", r.failures)
	}
}

func TestConformAccepts(t *testing.T) {
	codectest.Conform(t, codecs.String(), "", "a", "ü", "a longer text")
}

func TestConformNeedsValues(t *testing.T) {
	var r recorder
	codectest.Conform(&r, codecs.String())
	codectest.Conform[string](&r, nil, "a")
	if len(r.failures) != 2 {
		t.Errorf("reported %q, want a complaint about no values and one about no codec", r.failures)
	}
}
