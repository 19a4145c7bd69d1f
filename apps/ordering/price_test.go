package ordering_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/codecs"
)

func TestPricesAreRead(t *testing.T) {
	for text, want := range map[string]ordering.Money{
		"0": 0, "-0": 0, "0.01": 1, "4.99": 499, "4.990": 499, "5": 500, "5.0": 500, "5.00": 500, "5e0": 500, "50.00": 5000, "50.01": 5001,
		"5e1": 5000, "499e-2": 499, "1000000": 100_000_000, "1000000.00": 100_000_000, "1e6": 100_000_000,
	} {
		if got, err := ordering.ParsePrice(text); err != nil || got != want {
			t.Errorf("%s: %d pence, %v; want %d", text, got, err, want)
		}
	}
}

func TestPricesAreRefusedWithTheReason(t *testing.T) {
	for text, want := range map[string]string{
		"":             "the price is missing",
		"4.999":        "the price 4.999 has more than two places",
		"0.001":        "the price 0.001 has more than two places",
		"1e-3":         "the price 1e-3 has more than two places",
		"-0.01":        "the price -0.01 is negative",
		"-5":           "the price -5 is negative",
		"1000000.01":   "the price 1000000.01 is more than 1000000.00",
		"1e99":         "the price 1e99 is beyond any amount of money",
		"1e400":        `the price "1e400" is not an amount in pounds such as 4.99`,
		"1e999999999":  `the price "1e999999999" is not an amount in pounds such as 4.99`,
		"NaN":          `the price "NaN" is not an amount in pounds such as 4.99`,
		"Infinity":     `the price "Infinity" is not an amount in pounds such as 4.99`,
		"five":         `the price "five" is not an amount in pounds such as 4.99`,
		"£5":           `the price "£5" is not an amount in pounds such as 4.99`,
		" 5":           `the price " 5" is not an amount in pounds such as 4.99`,
		"5,00":         `the price "5,00" is not an amount in pounds such as 4.99`,
		"0x5":          `the price "0x5" is not an amount in pounds such as 4.99`,
		"+5":           `the price "+5" is not an amount in pounds such as 4.99`,
		"05":           `the price "05" is not an amount in pounds such as 4.99`,
		".5":           `the price ".5" is not an amount in pounds such as 4.99`,
		"true":         `the price "true" is not an amount in pounds such as 4.99`,
		"[1]":          `the price "[1]" is not an amount in pounds such as 4.99`,
		"5.00\x00":     `the price "5.00\x00" is not an amount in pounds such as 4.99`,
		"٥":            `the price "٥" is not an amount in pounds such as 4.99`,
		"123456789012": "the price 123456789012 is more than 1000000.00",
	} {
		if got, err := ordering.ParsePrice(text); err == nil || err.Error() != want {
			t.Errorf("%q: %d pence, %v; want the error %s", text, got, err, want)
		}
	}
	if _, err := ordering.ParsePrice(strings.Repeat("9", 1<<20)); err == nil || len(err.Error()) > 200 {
		t.Errorf("a number of a million digits: %.300v", err)
	}
}

func TestMoneyAsJSON(t *testing.T) {
	codec := codecs.JSON[ordering.Money]()
	for amount, want := range map[ordering.Money]string{0: "0.00", 1: "0.01", 10: "0.10", 499: "4.99", 500: "5.00", 100_000_000: "1000000.00", -5: "-0.05", -1 << 63: "-92233720368547758.08"} {
		encoded, err := codec.Append(nil, amount)
		if err != nil || string(encoded) != want || amount.String() != want {
			t.Errorf("%d pence are %s, %v; want %s", int64(amount), encoded, err, want)
		}
		if decoded, err := codec.Decode(encoded); err != nil || decoded != amount {
			t.Errorf("%s is read as %d pence, %v", encoded, int64(decoded), err)
		}
	}
	if decoded, err := codec.Decode([]byte(`"4.99"`)); err != nil || decoded != 499 {
		t.Errorf("a string is read as %d pence, %v", int64(decoded), err)
	}
	for _, text := range []string{"null", `""`, "{}", "4.999", `"x"`} {
		if decoded, err := codec.Decode([]byte(text)); err == nil {
			t.Errorf("%s is read as %s", text, decoded)
		}
	}
}

func TestPriceTextKeepsWhatWasSent(t *testing.T) {
	codec := codecs.JSON[ordering.PriceText]()
	for _, c := range []struct{ sent, text, again string }{
		{"4.99", "4.99", "4.99"},
		{"5.0", "5.0", "5.0"},
		{`"4.99"`, "4.99", "4.99"},
		{`"five"`, "five", `"five"`},
		{"true", "true", `"true"`},
		{"1e400", "1e400", `"1e400"`},
		{"null", "", `""`},
		{"[1]", "[1]", `"[1]"`},
	} {
		text, err := codec.Decode([]byte(c.sent))
		if err != nil || string(text) != c.text {
			t.Errorf("%s is read as %q, %v; want %q", c.sent, text, err, c.text)
		}
		if again, err := codec.Append(nil, text); err != nil || string(again) != c.again {
			t.Errorf("%q is written as %s, %v; want %s", text, again, err, c.again)
		}
	}
}

// A price is what rational arithmetic says it is.
func FuzzPrice(f *testing.F) {
	for _, text := range []string{"4.99", "5", "50.01", "1e-2", "-1", "NaN", "1e999", "0.005"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		price, err := ordering.ParsePrice(text)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok || exact.Cmp(big.NewRat(int64(price), 100)) != 0 || price < 0 || price > ordering.MaxPrice {
			t.Fatalf("%q is read as %s", text, price)
		}
		if again, err := ordering.ParsePrice(price.String()); err != nil || again != price {
			t.Fatalf("%s is read back as %s, %v", price, again, err)
		}
	})
}
