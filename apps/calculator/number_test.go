package calculator_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/codecs"
)

// What serde_json 1.0 prints for these doubles (its ryu: src/pretty/mod.rs, tests/d2s_test.rs and its documentation).
var rust = []struct {
	value float64
	text  string
}{
	{3, "3.0"},
	{9, "9.0"},
	{0, "0.0"},
	{math.Copysign(0, -1), "-0.0"},
	{-1.5, "-1.5"},
	{0.1, "0.1"},
	{0.3, "0.3"},
	{100, "100.0"},
	{1e15, "1000000000000000.0"},
	{1e16, "1e16"},
	{1e21, "1e21"},
	{1.5e16, "1.5e16"},
	{123456789012345680, "1.2345678901234568e17"},
	{1234567890123456, "1234567890123456.0"},
	{0.001, "0.001"},
	{0.00001, "0.00001"},
	{0.000012, "0.000012"},
	{0.000001, "1e-6"},
	{1.25e-7, "1.25e-7"},
	{5e-324, "5e-324"},
	{math.MaxFloat64, "1.7976931348623157e308"},
	{-math.MaxFloat64, "-1.7976931348623157e308"},
	{2.2250738585072014e-308, "2.2250738585072014e-308"},
	{9007199254740993, "9007199254740992.0"},
	{299792458, "299792458.0"},
	{1.0 / 3, "0.3333333333333333"},
	{2e100, "2e100"},
	{0.30000000000000004, "0.30000000000000004"},
}

func TestNumbersPrintAsRustPrintsThem(t *testing.T) {
	codec := codecs.JSON[calculator.Number]()
	for _, c := range rust {
		encoded, err := codec.Append(nil, calculator.NumberOf(c.value))
		if err != nil || string(encoded) != c.text {
			t.Errorf("%v is %s (%v), want %s", c.value, encoded, err, c.text)
		}
		if text := calculator.NumberOf(c.value).String(); text != c.text {
			t.Errorf("%v as text is %s, want %s", c.value, text, c.text)
		}
	}
}

func TestNumbersAreRead(t *testing.T) {
	codec := codecs.JSON[calculator.Number]()
	for text, want := range map[string]float64{"3": 3, "3.0": 3, "-0": 0, "1e3": 1000, "1E-2": 0.01, "0.1": 0.1, "1e-400": 0, "123456789012345678901234567890": 1.2345678901234568e29} {
		number, err := codec.Decode([]byte(text))
		if err != nil || number.IsZero() || number.Float64() != want {
			t.Errorf("%s: %v, %v; want %v", text, number, err, want)
		}
	}
	if number, err := codec.Decode([]byte("null")); err != nil || !number.IsZero() {
		t.Errorf("null: %v, %v; want an absent number", number, err)
	}
	for _, text := range []string{"1e400", "-1e999", `"3"`, "NaN", "Infinity", "true", "[3]", "{}", "3 4", "", "03", "+3", ".5"} {
		if number, err := codec.Decode([]byte(text)); err == nil {
			t.Errorf("%s is read as %v", text, number)
		}
	}
	for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if !calculator.NumberOf(value).IsZero() {
			t.Errorf("%v is taken for a number", value)
		}
	}
}

func FuzzNumber(f *testing.F) {
	for _, c := range rust {
		f.Add(math.Float64bits(c.value))
	}
	codec := codecs.JSON[calculator.Number]()
	f.Fuzz(func(t *testing.T, bits uint64) {
		value := math.Float64frombits(bits)
		number := calculator.NumberOf(value)
		if number.IsZero() {
			return
		}
		text := number.String()
		if read, err := strconv.ParseFloat(text, 64); err != nil || math.Float64bits(read) != bits {
			t.Fatalf("%v is %s and read back as %v, %v", value, text, read, err)
		}
		if !strings.ContainsAny(text, ".e") || strings.Contains(text, "e+") {
			t.Fatalf("%v is %s: neither a fraction nor an exponent", value, text)
		}
		decoded, err := codec.Decode([]byte(text))
		if err != nil || decoded != number {
			t.Fatalf("%s decodes as %v, %v", text, decoded, err)
		}
	})
}
