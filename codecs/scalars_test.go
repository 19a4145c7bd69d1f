package codecs_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"testing"
	"uuid"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

type identifier string

func TestScalarsConform(t *testing.T) {
	codectest.Suite[string]{
		Codec: codecs.String(), Values: []string{"", "a", "£5.00", "\x00"},
		Malformed: [][]byte{{0xff}, []byte("a\xc0\x80")}, Unencodable: []string{"\xff", "a\xed\xa0\x80"},
	}.Run(t)
	codectest.Conform(t, codecs.StringOf[identifier](), "", "value-1")
	codectest.Suite[[]byte]{Codec: codecs.Bytes(), Values: [][]byte{{}, {0}, {0xff, 0}}, Equal: bytes.Equal}.Run(t)
	codectest.Suite[int64]{
		Codec: codecs.Int64(), Values: []int64{0, 1, -1, math.MinInt64, math.MaxInt64},
		Malformed: [][]byte{nil, make([]byte, 7), make([]byte, 9)},
	}.Run(t)
	codectest.Suite[int64]{
		Codec: codecs.OrderedInt64(), Values: []int64{0, 1, -1, math.MinInt64, math.MaxInt64},
		Malformed: [][]byte{nil, make([]byte, 7), make([]byte, 9)},
	}.Run(t)
	codectest.Suite[int32]{
		Codec: codecs.Int32(), Values: []int32{0, 1, -1, math.MinInt32, math.MaxInt32},
		Malformed: [][]byte{nil, make([]byte, 3), make([]byte, 5)},
	}.Run(t)
	codectest.Suite[float64]{
		Codec: codecs.Float64(), Values: []float64{0, math.Copysign(0, -1), 1.5, math.Inf(1), math.NaN(), math.MaxFloat64},
		Malformed: [][]byte{nil, make([]byte, 7), make([]byte, 9)},
		Equal:     func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) },
	}.Run(t)
	codectest.Suite[bool]{Codec: codecs.Bool(), Values: []bool{true, false}, Malformed: [][]byte{nil, {2}, {1, 1}}}.Run(t)
	codectest.Suite[uuid.UUID]{
		Codec: codecs.UUID[uuid.UUID](), Values: []uuid.UUID{uuid.Nil(), uuid.Max(), uuid.MustParse("b9a5c7de-7ad1-4f0a-a3d5-1c6a6a6c7a01")},
		Malformed: [][]byte{nil, make([]byte, 15), make([]byte, 17)},
	}.Run(t)
	codectest.Suite[struct{}]{Codec: codecs.Void(), Values: []struct{}{{}}, Malformed: [][]byte{{0}}}.Run(t)
}

// The bytes are those of the serializers in org.apache.kafka.common.serialization.
func TestScalarsEqualJava(t *testing.T) {
	same(t, codecs.Int64(), -2, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe})
	same(t, codecs.Int64(), 0x0102030405060708, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	same(t, codecs.Int32(), 0x01020304, []byte{1, 2, 3, 4})
	same(t, codecs.Float64(), 9, []byte{0x40, 0x22, 0, 0, 0, 0, 0, 0})
	same(t, codecs.Bool(), true, []byte{1})
	same(t, codecs.String(), "ü", []byte{0xc3, 0xbc})
	same(t, codecs.OrderedInt64(), -1, []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

func same[T any](t *testing.T, codec codecs.Codec[T], value T, want []byte) {
	t.Helper()
	if got := encode(t, codec, value); !bytes.Equal(got, want) {
		t.Errorf("%v is encoded as % x, want % x", value, got, want)
	}
}

func encode[T any](t testing.TB, codec codecs.Codec[T], value T) []byte {
	t.Helper()
	encoded, err := codec.Append(nil, value)
	if err != nil {
		t.Fatalf("encoding %+v: %v", value, err)
	}
	return encoded
}

func TestLengthsAreTold(t *testing.T) {
	if _, err := codecs.Int64().Decode(make([]byte, 7)); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("seven bytes: %v, want ErrMalformed", err)
	}
	if _, err := codecs.Int64().Decode(make([]byte, 9)); !errors.Is(err, codecs.ErrTrailingData) {
		t.Errorf("nine bytes: %v, want ErrTrailingData", err)
	}
}

func FuzzOrderedInt64(f *testing.F) {
	f.Add(int64(0), int64(-1))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b int64) {
		codec := codecs.OrderedInt64()
		if got := bytes.Compare(encode(t, codec, a), encode(t, codec, b)); got != cmp.Compare(a, b) {
			t.Errorf("the encodings of %d and %d compare as %d", a, b, got)
		}
	})
}

func FuzzScalars(f *testing.F) {
	for _, seed := range []string{"", "\x00", "\x01", "abcd", "12345678", "0123456789abcdef", "\xff\xfe", "ü"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		codectest.Stable(t, codecs.String(), data)
		codectest.Stable(t, codecs.Bytes(), data)
		codectest.Stable(t, codecs.Int64(), data)
		codectest.Stable(t, codecs.OrderedInt64(), data)
		codectest.Stable(t, codecs.Int32(), data)
		codectest.Stable(t, codecs.Float64(), data)
		codectest.Stable(t, codecs.Bool(), data)
		codectest.Stable(t, codecs.UUID[[16]byte](), data)
		codectest.Stable(t, codecs.Void(), data)
	})
}

func TestConvert(t *testing.T) {
	cents := codecs.Convert(codecs.Int64(),
		func(text string) (int64, error) {
			return int64(len(text)), map[bool]error{true: errors.New("too long")}[len(text) > 3]
		},
		func(n int64) (string, error) {
			return "xxx"[:min(max(n, 0), 3)], map[bool]error{true: errors.New("no such")}[n > 3 || n < 0]
		})
	codectest.Suite[string]{
		Codec: cents, Values: []string{"", "x", "xx", "xxx"}, Unencodable: []string{"xxxx"},
		Malformed: [][]byte{{0, 0, 0, 0, 0, 0, 0, 9}, {1}},
	}.Run(t)
	if _, err := cents.Decode([]byte{0, 0, 0, 0, 0, 0, 0, 9}); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("a value the function refuses: %v, want ErrMalformed", err)
	}
	if err := codecs.Check(codecs.Convert[int64, string](nil, nil, nil)); !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Errorf("Check of a Convert of nothing: %v, want ErrInvalidCodec", err)
	}
	if _, err := codecs.Convert[int64, string](nil, nil, nil).Append(nil, ""); !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Errorf("Append by a Convert of nothing: %v, want ErrInvalidCodec", err)
	}
}
