// Package codectest checks that a codec keeps the promises of codecs.Codec. The author of a codec calls [Conform] with
// a few values in a test, and [Stable] in a fuzz target.
package codectest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

// Conform reports to t each promise that codec breaks for the given values, at least one, which should be distinct and
// reach every branch of the codec. Values are compared by their Equal(T) bool method if they have one, else by
// reflect.DeepEqual; see [Suite] for others.
//
// Checked are: that encodings are not nil, deterministic, distinct for distinct values and independent of what is in
// the buffer before them, which is left alone; that values come back equal and encode to the same bytes again; that
// decoding neither changes its input nor keeps a reference to it; that damaged input never panics; that goroutines may
// share the codec; for a header codec the same through headers; and what codecs.Check says.
func Conform[T any](t testing.TB, codec codecs.Codec[T], values ...T) {
	t.Helper()
	Suite[T]{Codec: codec, Values: values}.Run(t)
}

// Suite is [Conform] with more to say.
type Suite[T any] struct {
	// Codec is the codec to check.
	Codec codecs.Codec[T]
	// Values are encodable values, at least one.
	Values []T
	// Equal compares values; nil is the comparison of [Conform].
	Equal func(a, b T) bool
	// Malformed are inputs that Decode must refuse.
	Malformed [][]byte
	// Unencodable are values that Append must refuse.
	Unencodable []T
	// Seed chooses the damage done to inputs. It is printed with each failure.
	Seed uint64
}

// Run checks everything.
func (s Suite[T]) Run(t testing.TB) {
	t.Helper()
	if s.Equal == nil {
		s.Equal = equal[T]
	}
	if err := codecs.Check(s.Codec); err != nil {
		t.Errorf("the codec is faulty: %v", err)
		return
	}
	if len(s.Values) == 0 {
		t.Errorf("there are no values to check the codec with")
		return
	}
	encodings := make([][]byte, 0, len(s.Values))
	for i, value := range s.Values {
		encoded, err := s.checkAppend(value)
		if err == nil {
			err = s.checkDecode(value, encoded)
		}
		if err == nil {
			err = s.checkHeaders(value)
		}
		if err != nil {
			t.Errorf("value %d, %+v: %v", i, value, err)
			return
		}
		encodings = append(encodings, encoded)
	}
	s.checkDistinct(t, encodings)
	s.checkRefusals(t)
	s.checkDamage(t, encodings)
	s.checkSharing(t, encodings)
}

// checkAppend appends to nothing, to a full buffer and to one with room.
func (s Suite[T]) checkAppend(value T) ([]byte, error) {
	encoded, err := s.Codec.Append(nil, value)
	if err != nil {
		return nil, fmt.Errorf("its Append: %w", err)
	}
	if encoded == nil {
		return nil, fmt.Errorf("its Append gave nil: an encoding that is empty is an empty slice, nil is a tombstone")
	}
	encoded = slices.Clip(bytes.Clone(encoded))
	for _, room := range []int{0, 1, 4096} {
		prefix := []byte("before")
		buffer := append(make([]byte, 0, len(prefix)+room), prefix...)
		appended, err := s.Codec.Append(buffer, value)
		switch {
		case err != nil:
			return nil, fmt.Errorf("its Append, the second time: %w", err)
		case !bytes.HasPrefix(appended, prefix) || !bytes.Equal(buffer, prefix):
			return nil, fmt.Errorf("its Append changed what was in the buffer: %q became %q", prefix, appended)
		case !bytes.Equal(appended[len(prefix):], encoded):
			return nil, fmt.Errorf("its Append gave %q after other bytes (room for %d), but %q alone", appended[len(prefix):], room, encoded)
		}
	}
	return encoded, nil
}

// checkDecode decodes a buffer and spoils it afterwards.
func (s Suite[T]) checkDecode(value T, encoded []byte) error {
	input := bytes.Clone(encoded)
	decoded, err := s.Codec.Decode(input)
	if err != nil {
		return fmt.Errorf("its Decode(%q): %w", encoded, err)
	}
	if !bytes.Equal(input, encoded) {
		return fmt.Errorf("its Decode changed its input from %q to %q", encoded, input)
	}
	if !s.Equal(decoded, value) {
		return fmt.Errorf("its Decode(%q) gave %+v", encoded, decoded)
	}
	for i := range input {
		input[i] ^= 0xff
	}
	again, err := s.Codec.Append(nil, decoded)
	if err != nil {
		return fmt.Errorf("its Append of what was decoded, its input overwritten: %w", err)
	}
	if !bytes.Equal(again, encoded) {
		return fmt.Errorf("its Append gave %q for what was decoded from %q, its input overwritten: Decode keeps a reference, or is no inverse", again, encoded)
	}
	return nil
}

// checkHeaders takes a value through headers and body.
func (s Suite[T]) checkHeaders(value T) error {
	codec, ok := s.Codec.(codecs.HeaderCodec[T])
	if !ok {
		return nil
	}
	body, err := codec.Append(nil, value)
	if err != nil {
		return fmt.Errorf("its Append: %w", err)
	}
	other := codecs.Header{Key: "another", Value: []byte("header")}
	headers := codec.AppendHeaders([]codecs.Header{other}, value)
	if len(headers) == 0 || headers[0].Key != other.Key || !bytes.Equal(headers[0].Value, other.Value) {
		return fmt.Errorf("its AppendHeaders changed a header of another key: %q", headers)
	}
	decoded, err := codec.DecodeWithHeaders(slices.Clone(headers), bytes.Clone(body))
	if err != nil {
		return fmt.Errorf("its DecodeWithHeaders(%q, %q): %w", headers, body, err)
	}
	if !s.Equal(decoded, value) {
		return fmt.Errorf("its DecodeWithHeaders(%q, %q) gave %+v", headers, body, decoded)
	}
	count := len(headers)
	if headers = codec.AppendHeaders(headers, decoded); len(headers) != count {
		return fmt.Errorf("its AppendHeaders, the second time, left %q: it replaces headers of its keys", headers)
	}
	return nil
}

// checkDistinct compares encodings of values that differ.
func (s Suite[T]) checkDistinct(t testing.TB, encodings [][]byte) {
	t.Helper()
	for i := range encodings {
		for j := range i {
			same := s.Equal(s.Values[i], s.Values[j])
			if _, inHeaders := s.Codec.(codecs.HeaderCodec[T]); inHeaders && !same {
				continue // the difference may ride in the headers
			}
			if same != bytes.Equal(encodings[i], encodings[j]) {
				t.Errorf("values %d and %d: equal is %v, but their encodings are %q and %q", j, i, same, encodings[j], encodings[i])
			}
		}
	}
}

// checkRefusals gives the codec what it must refuse.
func (s Suite[T]) checkRefusals(t testing.TB) {
	t.Helper()
	for _, data := range s.Malformed {
		if value, err := s.Codec.Decode(bytes.Clone(data)); err == nil {
			t.Errorf("Decode(%q) gave %+v, and no error", data, value)
		}
	}
	for _, value := range s.Unencodable {
		prefix := []byte("before")
		encoded, err := s.Codec.Append(prefix, value)
		if err == nil {
			t.Errorf("Append(%+v) gave %q, and no error", value, encoded[len(prefix):])
		}
		if err != nil && string(encoded) != "before" {
			t.Errorf("Append(%+v) gave an error and %q: with an error it gives the buffer back as it was", value, encoded)
		}
	}
}

// checkDamage cuts, extends and changes encodings at random.
func (s Suite[T]) checkDamage(t testing.TB, encodings [][]byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(s.Seed, 0))
	for _, encoded := range encodings {
		for range 200 {
			damaged := bytes.Clone(encoded)
			switch random.IntN(3) {
			case 0:
				damaged = damaged[:random.IntN(len(damaged)+1)]
			case 1:
				damaged = append(damaged, byte(random.Uint32()))
			}
			if len(damaged) > 0 {
				damaged[random.IntN(len(damaged))] = byte(random.Uint32())
			}
			if err := stable(s.Codec, damaged); err != nil {
				t.Errorf("damaged input (seed %d): %v", s.Seed, err)
				return
			}
		}
	}
}

// checkSharing uses the codec from several goroutines; the race detector sees more of it.
func (s Suite[T]) checkSharing(t testing.TB, encodings [][]byte) {
	t.Helper()
	var group sync.WaitGroup
	faults := make([]error, 4)
	for worker := range faults {
		group.Go(func() {
			for i := range 50 * len(encodings) {
				i := (i + worker) % len(encodings)
				encoded, err := s.Codec.Append(nil, s.Values[i])
				if err == nil && !bytes.Equal(encoded, encodings[i]) {
					err = fmt.Errorf("its Append(%+v) gave %q", s.Values[i], encoded)
				}
				if err == nil {
					_, err = s.Codec.Decode(encodings[i])
				}
				if err != nil {
					faults[worker] = err
					return
				}
			}
		})
	}
	group.Wait()
	for _, err := range faults {
		if err != nil {
			t.Errorf("several goroutines sharing the codec: %v", err)
			return
		}
	}
}

// Stable reports to t if decoding data, any bytes at all, panics; or if it succeeds and the value cannot be encoded, or
// its encoding decodes to a value with another encoding. It is the body of a fuzz target.
func Stable[T any](t testing.TB, codec codecs.Codec[T], data []byte) {
	t.Helper()
	if err := stable(codec, data); err != nil {
		t.Errorf("%v", err)
	}
}

func stable[T any](codec codecs.Codec[T], data []byte) (fault error) {
	defer func() {
		if reason := recover(); reason != nil {
			fault = fmt.Errorf("its Decode(%q) panics: %v", data, reason)
		}
	}()
	before := bytes.Clone(data)
	value, err := codec.Decode(data)
	if !bytes.Equal(data, before) {
		return fmt.Errorf("its Decode changed its input from %q to %q", before, data)
	}
	if err != nil {
		return nil
	}
	encoded, err := codec.Append(nil, value)
	if err != nil {
		return fmt.Errorf("its Decode(%q) gave %+v, which Append refuses: %w", data, value, err)
	}
	again, err := codec.Decode(encoded)
	if err != nil {
		return fmt.Errorf("its Decode(%q) gave %+v, whose encoding %q Decode refuses: %w", data, value, encoded, err)
	}
	second, err := codec.Append(nil, again)
	if err != nil || !bytes.Equal(second, encoded) {
		return fmt.Errorf("its Decode(%q) is encoded as %q at first and as %q after another turn (%v)", data, encoded, second, err)
	}
	return nil
}

// equal prefers a type's own idea of equality.
func equal[T any](a, b T) bool {
	if x, ok := any(a).(interface{ Equal(T) bool }); ok {
		return x.Equal(b)
	}
	return reflect.DeepEqual(a, b)
}
