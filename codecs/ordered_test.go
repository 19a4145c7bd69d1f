package codecs_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"uuid"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

var orderedTexts = []string{"", "\x00", "\x00\x00", "\x00\x01", "\x01", "a", "a\x00", "a\x00b", "a\x01", "ab", "b", "ä", "\U0001f600", "\x7f"}

func TestOrderedConform(t *testing.T) {
	malformedTexts := [][]byte{nil, {0}, []byte("a"), {'a', 0}, {'a', 0, 2}, {'a', 0, 1, 0}, {0, 0xff}, {0xff, 0, 1}}
	codectest.Suite[string]{
		Codec: codecs.OrderedString(), Values: orderedTexts, Unencodable: []string{"\xff"}, Malformed: malformedTexts,
	}.Run(t)
	codectest.Suite[string]{
		Codec: codecs.Descending(codecs.OrderedString()), Values: orderedTexts, Unencodable: []string{"\xff"},
		Malformed: [][]byte{nil, {0xff}, {0, 0xff}, {0, 0xff, 0xfe}, {0xff, 0xfe, 0xff}},
	}.Run(t)
	codectest.Suite[[]byte]{
		Codec: codecs.OrderedBytes(), Values: [][]byte{{}, {0}, {0xff}, {0, 0xff}, {0, 1}}, Equal: bytes.Equal, Malformed: malformedTexts[:7],
	}.Run(t)
	codectest.Suite[time.Time]{
		Codec: codecs.OrderedTime(), Values: []time.Time{time.UnixMilli(0), time.UnixMilli(-1), time.Date(2026, 11, 21, 12, 0, 0, 5e6, time.FixedZone("", 3600))},
		Unencodable: []time.Time{time.Unix(0, 1), time.Unix(math.MaxInt64/2, 0)}, Malformed: [][]byte{nil, make([]byte, 7), make([]byte, 9)},
	}.Run(t)
	codectest.Suite[uuid.UUID]{
		Codec: codecs.Descending(codecs.OrderedUUID[uuid.UUID]()), Values: []uuid.UUID{uuid.Nil(), uuid.Max()}, Malformed: [][]byte{nil, make([]byte, 15), make([]byte, 17)},
	}.Run(t)
	codectest.Suite[codecs.Decimal]{
		Codec: codecs.OrderedDecimal(), Values: orderedDecimals(t),
		Malformed: [][]byte{
			nil,
			{0},
			{4},
			{2, 0},
			{3},
			{3, 0x81},
			{3, 0x81, 0},
			{3, 0x81, 11},
			{3, 0x81, 102, 0},
			{3, 0x81, 2, 0},
			{3, 0x81, 11, 1, 0},
			{3, 0x81, 11, 0, 0},
			{3, 0xff, 11, 0},
			{3, 0, 11, 0},
			{1, 0x7e, 0xff},
			append(append([]byte{3, 0x81}, bytes.Repeat([]byte{100}, 101)...), 0),
		},
	}.Run(t)
	level := codecs.ConvertOrdered(codecs.OrderedInt64(), levelNumber, levelOf)
	codectest.Suite[string]{
		Codec: level, Values: []string{"low", "middle", "high"}, Unencodable: []string{"none"}, Malformed: [][]byte{make([]byte, 8)},
	}.Run(t)
	codectest.Suite[codecs.Tuple4[string, int64, codecs.Decimal, string]]{
		Codec: codecs.OrderedTuple4(codecs.OrderedString(), codecs.Descending(codecs.OrderedInt64()), codecs.OrderedDecimal(), level),
		Values: []codecs.Tuple4[string, int64, codecs.Decimal, string]{
			{First: "", Second: 1, Fourth: "low"}, {First: "a", Second: -1, Third: decimal(t, "5.25"), Fourth: "high"}, {First: "a\x00", Fourth: "high"},
		},
		Equal: func(a, b codecs.Tuple4[string, int64, codecs.Decimal, string]) bool {
			return a.First == b.First && a.Second == b.Second && a.Third.Equal(b.Third) && a.Fourth == b.Fourth
		},
		Unencodable: []codecs.Tuple4[string, int64, codecs.Decimal, string]{{Fourth: "none"}, {First: "\xff", Fourth: "low"}},
	}.Run(t)
}

var levels = []string{"low", "middle", "high"}

func levelNumber(level string) (int64, error) {
	for i, name := range levels {
		if name == level {
			return int64(i), nil
		}
	}
	return 0, errors.New("no such level")
}

func levelOf(number int64) (string, error) {
	if number < 0 || number >= int64(len(levels)) {
		return "", errors.New("no such level")
	}
	return levels[number], nil
}

// orderedDecimals returns decimals that are close to each other in every way, and extremes.
func orderedDecimals(t testing.TB) (values []codecs.Decimal) {
	for _, text := range []string{
		"0", "0.001", "0.01", "0.0101", "0.1", "0.5", "0.99", "1", "1.001", "1.01", "1.1", "1.10001", "1.5", "2", "4.99", "5", "5.01", "9.99", "10", "10.01",
		"49.99", "50", "50.01", "99", "99.5", "100", "101", "110", "1000", "1000.5", "1e50", "12345678901234567890", "18446744073709551616",
		strings.Repeat("9", 100), strings.Repeat("9", 100) + "." + strings.Repeat("9", 100), "1e-100", "2e-100", "1e99",
	} {
		value := decimal(t, text)
		values = append(values, value)
		if !value.IsZero() {
			values = append(values, value.Neg())
		}
	}
	return values
}

// The bytes of docs/format/row.md, which stay.
func TestOrderedBytesStay(t *testing.T) {
	same(t, codecs.OrderedString(), "al\x00ice", []byte("al\x00\xffice\x00\x01"))
	same(t, codecs.Descending(codecs.OrderedString()), "a\x00", []byte{0x9e, 0xff, 0x00, 0xff, 0xfe})
	same(t, codecs.OrderedInt64(), 1, []byte{0x80, 0, 0, 0, 0, 0, 0, 1})
	same(t, codecs.OrderedTime(), time.UnixMilli(1_700_000_000_000), []byte{0x80, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00})
	same(t, codecs.Descending(codecs.OrderedTime()), time.UnixMilli(1_700_000_000_000), []byte{0x7f, 0xff, 0xfe, 0x74, 0x30, 0x1a, 0x97, 0xff})
	same(t, codecs.OrderedDecimal(), decimal(t, "12.50"), []byte{0x03, 0x82, 0x0d, 0x33, 0x00})
	same(t, codecs.OrderedDecimal(), decimal(t, "-12.50"), []byte{0x01, 0x7d, 0xf2, 0xcc, 0xff})
	same(t, codecs.OrderedDecimal(), decimal(t, "0"), []byte{0x02})
	same(t, codecs.OrderedDecimal(), decimal(t, "0.05"), []byte{0x03, 0x7f, 0x33, 0x00})
	same(t, codecs.OrderedDecimal(), decimal(t, "10001"), []byte{0x03, 0x85, 0x0b, 0x01, 0x0b, 0x00})
}

func TestOrderOfBytes(t *testing.T) {
	ordered(t, codecs.OrderedString(), strings.Compare, orderedTexts)
	ordered(t, codecs.OrderedDecimal(), codecs.Decimal.Cmp, orderedDecimals(t))
	ordered(t, codecs.OrderedTime(), time.Time.Compare, []time.Time{time.UnixMilli(-5), time.UnixMilli(-1), {}, time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(1 << 40)})
	ordered(t, codecs.OrderedUUID[[16]byte](), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }, [][16]byte{{}, {1}, {0, 1}, {0xff}})
	type pair = codecs.Tuple2[string, int64]
	var pairs []pair
	for _, text := range orderedTexts {
		for _, number := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
			pairs = append(pairs, pair{First: text, Second: number})
		}
	}
	ordered(t, codecs.OrderedTuple2(codecs.OrderedString(), codecs.Descending(codecs.OrderedInt64())), func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(b.Second, a.Second))
	}, pairs)
}

// ordered compares the bytes of all pairs of values, ascending, descending and descending twice.
func ordered[T any](t *testing.T, codec codecs.Ordered[T], compare func(a, b T) int, values []T) {
	t.Helper()
	for _, a := range values {
		for _, b := range values {
			compareBytes(t, codec, compare, a, b)
		}
	}
}

func compareBytes[T any](t *testing.T, codec codecs.Ordered[T], compare func(a, b T) int, a, b T) {
	t.Helper()
	want := compare(a, b)
	if got := bytes.Compare(encode(t, codec, a), encode(t, codec, b)); got != want {
		t.Errorf("the encodings of %+v and %+v compare as %d, the values as %d", a, b, got, want)
	}
	descending := codecs.Descending(codec)
	x, y := encode(t, descending, a), encode(t, descending, b)
	if got := bytes.Compare(x, y); got != -want {
		t.Errorf("the descending encodings of %+v and %+v compare as %d, the values as %d", a, b, got, want)
	}
	if want != 0 && (bytes.HasPrefix(x, y) || bytes.HasPrefix(y, x)) {
		t.Errorf("one of the encodings of %+v and %+v is a prefix of the other", a, b)
	}
	if twice := encode(t, codecs.Descending(descending), a); !bytes.Equal(twice, encode(t, codec, a)) {
		t.Errorf("%+v descending twice is % x", a, twice)
	}
}

func FuzzOrderedStrings(f *testing.F) {
	f.Add([]byte("a"), []byte("a\x00"))
	f.Add([]byte{0, 0xff}, []byte{0, 1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		compareBytes(t, codecs.OrderedBytes(), bytes.Compare, a, b)
		codectest.Stable(t, codecs.OrderedBytes(), a)
		codectest.Stable(t, codecs.OrderedString(), a)
		codectest.Stable(t, codecs.Descending(codecs.OrderedString()), a)
	})
}

func FuzzOrderedDecimals(f *testing.F) {
	f.Add("0.1", "0.10001", []byte{3, 0x81, 11, 0})
	f.Add("-5", "1e99", []byte{1, 0x7d, 0xf2, 0xcc, 0xff})
	f.Fuzz(func(t *testing.T, a, b string, data []byte) {
		codectest.Stable(t, codecs.OrderedDecimal(), data)
		codectest.Stable(t, codecs.Descending(codecs.OrderedDecimal()), data)
		x, err := codecs.ParseDecimal(a)
		y, err2 := codecs.ParseDecimal(b)
		if err == nil && err2 == nil {
			compareBytes(t, codecs.OrderedDecimal(), codecs.Decimal.Cmp, x, y)
		}
	})
}

// TestOrderedDecimalsAtRandom compares with big.Rat, by a seed that is printed.
func TestOrderedDecimalsAtRandom(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	number := func() codecs.Decimal {
		value, err := codecs.DecimalFromUnits(random.Int64N(2_000_000)-1_000_000, random.IntN(12))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	exact := func(d codecs.Decimal) *big.Rat {
		value, _ := new(big.Rat).SetString(d.String())
		return value
	}
	for range 20_000 {
		a, b := number(), number()
		if got, want := bytes.Compare(encode(t, codecs.OrderedDecimal(), a), encode(t, codecs.OrderedDecimal(), b)), exact(a).Cmp(exact(b)); got != want {
			t.Fatalf("seed %d: the encodings of %v and %v compare as %d, the numbers as %d", seed, a, b, got, want)
		}
		if back, err := codecs.OrderedDecimal().Decode(encode(t, codecs.OrderedDecimal(), a)); err != nil || !back.Equal(a) {
			t.Fatalf("seed %d: %v comes back as %v, %v", seed, a, back, err)
		}
	}
}

func TestInvalidOrdered(t *testing.T) {
	var none codecs.Ordered[string]
	invalid := map[string]codecs.Codec[string]{
		"zero": none, "descending": codecs.Descending(none), "converted": codecs.ConvertOrdered[int64, string](codecs.OrderedInt64(), nil, nil),
		"converted from zero": codecs.ConvertOrdered(none, func(s string) (string, error) { return s, nil }, func(s string) (string, error) { return s, nil }),
	}
	for name, codec := range invalid {
		checkInvalid(t, name, codec, "")
	}
	checkInvalid(t, "tuple", codecs.Codec[codecs.Tuple3[string, string, string]](codecs.OrderedTuple3(codecs.OrderedString(), none, codecs.OrderedString())), codecs.Tuple3[string, string, string]{})
	checkInvalid(t, "row", codecs.Codec[codecs.Row[string, string]](codecs.Rows(none, codecs.OrderedString())), codecs.Row[string, string]{})
	checkInvalid(t, "row", codecs.Codec[codecs.Row[string, string]](codecs.Rows(codecs.OrderedString(), none)), codecs.Row[string, string]{})
	checkInvalid(t, "zero row", codecs.Codec[codecs.Row[string, string]](codecs.RowCodec[string, string]{}), codecs.Row[string, string]{})
}

func checkInvalid[T any](t *testing.T, name string, codec codecs.Codec[T], value T) {
	t.Helper()
	if err := codecs.Check(codec); !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Errorf("%s: Check says %v", name, err)
	}
	if encoded, err := codec.Append([]byte("before"), value); !errors.Is(err, codecs.ErrInvalidCodec) || string(encoded) != "before" {
		t.Errorf("%s: Append gives %q, %v", name, encoded, err)
	}
	if _, err := codec.Decode([]byte("a\x00\x01b\x00\x01c\x00\x01")); !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Errorf("%s: Decode gives %v", name, err)
	}
}
