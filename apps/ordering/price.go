package ordering

import (
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/codecs"
)

// MaxPrice is the highest price of an item. What costs more is a slip of the finger.
const MaxPrice Money = 1_000_000_00

// places are the digits of pounds after the point.
const places = 2

// Money is an amount of pounds, kept in pence: exact, and never a binary fraction. As JSON it is a number with two places,
// such as 4.99 or 5.00; a string is read too.
type Money int64

// String returns the amount as JSON has it.
func (m Money) String() string { return string(m.append(nil)) }

func (m Money) append(dst []byte) []byte {
	pence := uint64(m)
	if m < 0 {
		dst, pence = append(dst, '-'), -pence
	}
	dst = strconv.AppendUint(dst, pence/100, 10)
	return append(dst, '.', byte('0'+pence%100/10), byte('0'+pence%10))
}

// MarshalJSONTo writes the amount.
func (m Money) MarshalJSONTo(encoder *jsontext.Encoder) error {
	return encoder.WriteValue(m.append(encoder.AvailableBuffer()))
}

// UnmarshalJSONFrom reads a number or a string.
func (m *Money) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	var text PriceText
	err := text.UnmarshalJSONFrom(decoder)
	if err == nil {
		*m, err = ParseMoney(string(text))
	}
	return err
}

// ParseMoney reads an amount of pounds, in the syntax of a JSON number. Whole pence are wanted: 4.990 is 4.99, and 4.999
// is an error.
func ParseMoney(text string) (Money, error) {
	amount, err := codecs.ParseDecimal(text)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not an amount in pounds such as 4.99", text)
	}
	if amount.Places() > places {
		return 0, fmt.Errorf("%.40s has more than two places", text)
	}
	pence, err := strconv.ParseInt(strings.Replace(amount.Fixed(places), ".", "", 1), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40s is beyond any amount of money", text)
	}
	return Money(pence), nil
}

// ParsePrice reads the price of an item: an amount of 0 to MaxPrice. The error says what is wrong with it.
func ParsePrice(text string) (Money, error) {
	if text == "" {
		return 0, errors.New("the price is missing")
	}
	price, err := ParseMoney(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("the price %w", err)
	case price < 0:
		return 0, fmt.Errorf("the price %.40s is negative", text)
	case price > MaxPrice:
		return 0, fmt.Errorf("the price %.40s is more than %s", text, MaxPrice)
	}
	return price, nil
}

// PriceText is a price as whoever sent a command wrote it, so that the decider can say what is wrong with it. As JSON it is
// a number where it is one, else a string; anything is read. The empty text is an absent price.
type PriceText string

// MarshalJSONTo writes the text.
func (p PriceText) MarshalJSONTo(encoder *jsontext.Encoder) error {
	if _, err := codecs.ParseDecimal(string(p)); err == nil {
		return encoder.WriteValue(jsontext.Value(p))
	}
	return encoder.WriteToken(jsontext.String(string(p)))
}

// UnmarshalJSONFrom reads any value: a string's content, and everything else as it is written. null is an absent price.
func (p *PriceText) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	switch value.Kind() {
	case jsontext.KindNull:
		*p = ""
		return nil
	case jsontext.KindString:
		if value, err = jsontext.AppendUnquote(nil, value); err != nil {
			return err
		}
	}
	*p = PriceText(value)
	return nil
}
