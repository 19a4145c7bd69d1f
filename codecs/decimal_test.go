package codecs_test

import (
	"encoding/json/v2"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

func decimal(t testing.TB, text string) codecs.Decimal {
	t.Helper()
	d, err := codecs.ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecimalConforms(t *testing.T) {
	var values []codecs.Decimal
	for _, text := range []string{
		"0", "1", "-1", "5.25", "-0.01", "1e100", "0.1234567890123456789", "123456789012345678901234567890.5", "9" + strings.Repeat("0", 99),
		strings.Repeat("9", 100) + "." + strings.Repeat("9", 100), "18446744073709551616", "999999999999999999",
	} {
		if text == "1e100" {
			text = "1e99"
		}
		values = append(values, decimal(t, text))
	}
	codectest.Suite[codecs.Decimal]{
		Codec: codecs.DecimalText(), Values: values,
		Malformed: [][]byte{
			nil, []byte(" 1"), []byte("1 "), []byte("+1"), []byte(".5"), []byte("5."), []byte("01"), []byte("-"), []byte("1e"), []byte("1e+"),
			[]byte("0x1"), []byte("1_000"), []byte("NaN"), []byte("Infinity"), []byte("1e100"), []byte("1e999999999999999999999"),
			[]byte("1e-101"), []byte("--1"), []byte(".-4"), []byte("1.-4"), []byte("1,5"), []byte("١"), []byte(strings.Repeat("0", 2000)),
		},
	}.Run(t)
}

func TestDecimalHasOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"1.50": "1.5", "15e-1": "1.5", "0.15E1": "1.5", "-0": "0", "0.000": "0", "0e999999": "0", "-0e-5": "0", "100": "100", "1e2": "100",
		"1.0e+2": "100", "0.000001": "0.000001", "1e-6": "0.000001", "-12.340": "-12.34",
		"1e-100": "0." + strings.Repeat("0", 99) + "1",
	} {
		if got := decimal(t, text).String(); got != want {
			t.Errorf("%s has the text %s, want %s", text, got, want)
		}
	}
}

func TestDecimalArithmetic(t *testing.T) {
	must := func(d codecs.Decimal, err error) string {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return d.String()
	}
	for _, test := range [][2]string{
		{must(decimal(t, "0.1").Add(decimal(t, "0.2"))), "0.3"},
		{must(decimal(t, "0.1").Sub(decimal(t, "0.1"))), "0"},
		{must(decimal(t, "1.25").Mul(decimal(t, "-4"))), "-5"},
		{must(codecs.DecimalFromUnits(1250, 2)), "12.5"},
		{codecs.DecimalFromInt(-7000).String(), "-7000"},
		{must(decimal(t, "2.5").Round(0)), "2"},
		{must(decimal(t, "3.5").Round(0)), "4"},
		{must(decimal(t, "-2.345").Round(2)), "-2.34"},
		{must(decimal(t, "0.001").Round(2)), "0"},
		{must(decimal(t, "1.5").Round(5)), "1.5"},
		{decimal(t, "5").Fixed(2), "5.00"},
		{decimal(t, "-5.1").Fixed(2), "-5.10"},
		{decimal(t, "5.123").Fixed(2), "5.123"},
		{decimal(t, "50").Neg().String(), "-50"},
		{codecs.Decimal{}.Neg().String(), "0"},
		{codecs.Decimal{}.Fixed(2), "0.00"},
	} {
		if test[0] != test[1] {
			t.Errorf("got %s, want %s", test[0], test[1])
		}
	}
	large := decimal(t, strings.Repeat("9", 100))
	small := decimal(t, "1e-100")
	for _, operation := range []func() (codecs.Decimal, error){
		func() (codecs.Decimal, error) { return large.Add(codecs.DecimalFromInt(1)) },
		func() (codecs.Decimal, error) { return large.Mul(large) },
		func() (codecs.Decimal, error) { return large.Neg().Sub(large) },
		func() (codecs.Decimal, error) { return small.Mul(small) },
		func() (codecs.Decimal, error) { return codecs.DecimalFromUnits(1, -1) },
		func() (codecs.Decimal, error) { return codecs.DecimalFromUnits(1, 101) },
		func() (codecs.Decimal, error) { return decimal(t, large.String()+".9").Round(0) },
		func() (codecs.Decimal, error) { return large.Round(-1) },
	} {
		if d, err := operation(); !errors.Is(err, codecs.ErrUnencodable) {
			t.Errorf("got %s, %v, want ErrUnencodable", d, err)
		}
	}
}

type priced struct {
	Number codecs.Decimal       `json:"number"`
	Text   codecs.QuotedDecimal `json:"text"`
	Maybe  *codecs.Decimal      `json:"maybe"`
}

func TestDecimalAsJSON(t *testing.T) {
	codec := codecs.JSON[priced]()
	value, err := codec.Decode([]byte(`{"number":"5.00","text":0.10,"maybe":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(encode(t, codec, value)), `{"number":5,"text":"0.1","maybe":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, input := range []string{`null`, `true`, `"five"`, `""`, `{}`, `1e999999999`, `"1e999999999"`} {
		if _, err := codec.Decode([]byte(`{"number":` + input + `}`)); !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("%s as a decimal: %v, want ErrMalformed", input, err)
		}
	}
	if data, err := json.Marshal(decimal(t, "0.30"), json.StringifyNumbers(true)); err != nil || string(data) != `"0.3"` {
		t.Errorf("json.Marshal gave %s, %v", data, err)
	}
	codectest.Conform(t, codecs.JSON[codecs.Decimal](), decimal(t, "-1.5"), codecs.Decimal{})
	codectest.Suite[codecs.QuotedDecimal]{
		Codec: codecs.JSON[codecs.QuotedDecimal](), Values: []codecs.QuotedDecimal{{decimal(t, "-1.5")}, {}},
		Equal: func(a, b codecs.QuotedDecimal) bool { return a.Cmp(b.Decimal) == 0 },
	}.Run(t)
	if data, err := json.Marshal(decimal(t, "0.30")); err != nil || string(data) != "0.3" {
		t.Errorf("json.Marshal gave %s, %v", data, err)
	}
}

// math/big's rationals are the oracle.
func FuzzDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-1.50", "1e99", "1e-100", "00", "1e100", "-0e-5", ".-4", "12345678901234567890.5", "5.", "0.1"} {
		f.Add(seed, "3.25")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		codectest.Stable(t, codecs.DecimalText(), []byte(text))
		d, err := codecs.ParseDecimal(text)
		if err != nil {
			return
		}
		value, ok := new(big.Rat).SetString(text)
		if !ok && d.IsZero() {
			return // math/big gives up on the exponent of a zero
		}
		if !ok || value.Cmp(rational(t, d)) != 0 {
			t.Fatalf("%q was read as %s", text, d)
		}
		e, err := codecs.ParseDecimal(other)
		if err != nil {
			return
		}
		x, y := rational(t, d), rational(t, e)
		if d.Cmp(e) != x.Cmp(y) || d.Sign() != x.Sign() {
			t.Errorf("%s and %s compare as %d", d, e, d.Cmp(e))
		}
		for name, operation := range map[string]struct {
			exact  func(codecs.Decimal, codecs.Decimal) (codecs.Decimal, error)
			oracle func(z, x, y *big.Rat) *big.Rat
		}{
			"+": {codecs.Decimal.Add, (*big.Rat).Add}, "-": {codecs.Decimal.Sub, (*big.Rat).Sub}, "*": {codecs.Decimal.Mul, (*big.Rat).Mul},
		} {
			got, err := operation.exact(d, e)
			if want := operation.oracle(new(big.Rat), x, y); err == nil && rational(t, got).Cmp(want) != 0 {
				t.Errorf("%s %s %s gave %s, want %s", d, name, e, got, want)
			}
		}
		for _, places := range []int{0, 2, 100} {
			rounded, err := d.Round(places)
			if err != nil {
				continue
			}
			distance := new(big.Rat).Sub(rational(t, rounded), x)
			if unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)); rounded.Places() > places ||
				distance.Abs(distance).Cmp(unit.Quo(unit, big.NewRat(2, 1))) > 0 {
				t.Errorf("%s rounded to %d places gave %s", d, places, rounded)
			}
		}
	})
}

func rational(t *testing.T, d codecs.Decimal) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		t.Fatalf("%q is no number", d.String())
	}
	return r
}
