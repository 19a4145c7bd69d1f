package codecs

import (
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"fmt"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// MaxDecimalDigits is the greatest number of digits a [Decimal] has before the point, and after it. It is what keeps
// "1e999999999", eleven bytes of input, from becoming a gigabyte.
const MaxDecimalDigits = 100

// maxDecimalInput is the greatest length in bytes of a text that is looked at: room for both sides and superfluous
// zeros.
const maxDecimalInput = 1000

// Decimal is an exact decimal number, as for money: no binary fraction, no rounding unless asked for. It is an
// immutable value, safe to copy and share; the zero Decimal is 0. Compare with Equal or Cmp, not with ==.
//
// It has one form: 1.50, 1.5 and 15e-1 are the same Decimal, with the text "1.5". It is kept by cockroachdb/apd.
//
// As JSON it is a number of just these digits, or a string if json's StringifyNumbers is set or the field is a
// [QuotedDecimal]; choose the string where readers hold numbers as binary floats, as JavaScript does. Either form is
// read, null is not.
type Decimal struct{ value apd.Decimal }

// QuotedDecimal is a [Decimal] that is written as a string in JSON.
type QuotedDecimal struct{ Decimal }

// exact is apd's context without rounding: precision 0.
var exact = apd.BaseContext

// DecimalFromInt returns an integer as a Decimal.
func DecimalFromInt(value int64) Decimal {
	d, err := newDecimal(apd.New(value, 0))
	if err != nil {
		return Decimal{} // not reached: 19 digits are within the limit
	}
	return d
}

// DecimalFromUnits returns an integer count of the smallest unit as a Decimal: 1250 pence with 2 places are 12.5. Places
// are 0 to [MaxDecimalDigits].
func DecimalFromUnits(units int64, places int) (Decimal, error) {
	if places < 0 || places > MaxDecimalDigits {
		return Decimal{}, fmt.Errorf("making a decimal: %w: %d places are not in 0…%d", ErrUnencodable, places, MaxDecimalDigits)
	}
	return newDecimal(apd.New(units, -int32(places)))
}

// ParseDecimal reads a decimal in the syntax of a JSON number, such as -12.50 or 1e3. Other syntax, and numbers beyond
// [MaxDecimalDigits], are an [ErrMalformed].
func ParseDecimal(text string) (Decimal, error) {
	d, err := parseDecimal([]byte(text))
	if err != nil {
		return Decimal{}, fmt.Errorf("reading a decimal: %w: %w", ErrMalformed, err)
	}
	return d, nil
}

// String returns the canonical text: no exponent, no superfluous zero, no minus before 0.
func (d Decimal) String() string { return string(d.append(nil)) }

func (d Decimal) append(dst []byte) []byte { return d.value.Append(dst, 'f') }

// Fixed returns the text with at least the given number of places, filled with zeros, as prices are shown: 5 with 2
// places is "5.00". Places that are there are never cut; see [Decimal.Round].
func (d Decimal) Fixed(places int) string {
	text := d.String()
	missing := min(places, MaxDecimalDigits) - d.Places()
	if missing <= 0 {
		return text
	}
	if d.Places() == 0 {
		text += "."
	}
	return text + strings.Repeat("0", missing)
}

// Places returns the number of digits after the point, without trailing zeros.
func (d Decimal) Places() int { return max(0, -int(d.value.Exponent)) }

// Sign returns -1, 0 or 1.
func (d Decimal) Sign() int { return d.value.Sign() }

// IsZero reports whether the number is 0; json's omitzero uses it.
func (d Decimal) IsZero() bool { return d.value.IsZero() }

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than other.
func (d Decimal) Cmp(other Decimal) int { return d.value.Cmp(&other.value) }

// Equal reports whether both are the same number.
func (d Decimal) Equal(other Decimal) bool { return d.Cmp(other) == 0 }

// Neg returns the number with the other sign.
func (d Decimal) Neg() Decimal {
	if d.IsZero() {
		return d
	}
	d.value.Negative = !d.value.Negative
	return d
}

// Add returns the exact sum; a sum beyond [MaxDecimalDigits] is an [ErrUnencodable].
func (d Decimal) Add(other Decimal) (Decimal, error) {
	return compute("adding decimals", exact.Add, d, other)
}

// Sub returns the exact difference; one beyond [MaxDecimalDigits] is an [ErrUnencodable].
func (d Decimal) Sub(other Decimal) (Decimal, error) {
	return compute("subtracting decimals", exact.Sub, d, other)
}

// Mul returns the exact product; one beyond [MaxDecimalDigits], also of places, is an [ErrUnencodable].
func (d Decimal) Mul(other Decimal) (Decimal, error) {
	return compute("multiplying decimals", exact.Mul, d, other)
}

// Round returns the nearest number of the given places, 0 to [MaxDecimalDigits]; of two as near the one whose last
// digit is even. A result beyond [MaxDecimalDigits], as a hundred nines may become, is an [ErrUnencodable].
func (d Decimal) Round(places int) (Decimal, error) {
	if places < 0 || places > MaxDecimalDigits {
		return Decimal{}, fmt.Errorf("rounding a decimal: %w: %d places are not in 0…%d", ErrUnencodable, places, MaxDecimalDigits)
	}
	if d.Places() <= places {
		return d, nil
	}
	context := exact.WithPrecision(2*MaxDecimalDigits + 1) // holds every number within the limits
	context.Rounding = apd.RoundHalfEven
	quantize := func(result, x, _ *apd.Decimal) (apd.Condition, error) {
		return context.Quantize(result, x, -int32(places))
	}
	return compute("rounding a decimal", quantize, d, d)
}

// compute applies one of apd's exact operations.
func compute(doing string, operation func(d, x, y *apd.Decimal) (apd.Condition, error), x, y Decimal) (Decimal, error) {
	var result apd.Decimal
	if _, err := operation(&result, &x.value, &y.value); err != nil {
		return Decimal{}, fmt.Errorf("%s: %w: %w", doing, ErrUnencodable, err)
	}
	d, err := newDecimal(&result)
	if err != nil {
		return Decimal{}, fmt.Errorf("%s: %w: %w", doing, ErrUnencodable, err)
	}
	return d, nil
}

// newDecimal brings a number into the one form and holds it against the limits.
func newDecimal(number *apd.Decimal) (Decimal, error) {
	var d Decimal
	if number.IsZero() {
		return d, nil
	}
	d.value.Reduce(number)
	return d, checkDigits(int(d.value.NumDigits()), int(d.value.Exponent))
}

// checkDigits holds a number of so many digits times ten to the exponent against the limits.
func checkDigits(digits, exponent int) error {
	if before := digits + exponent; before > MaxDecimalDigits {
		return fmt.Errorf("a decimal has more than %d digits before the point", MaxDecimalDigits)
	}
	if -exponent > MaxDecimalDigits {
		return fmt.Errorf("a decimal has more than %d digits after the point", MaxDecimalDigits)
	}
	return nil
}

// parseDecimal reads the syntax itself, so that nothing is computed with before it is known to be small.
func parseDecimal(text []byte) (Decimal, error) {
	number, err := scanDecimal(text)
	if err != nil || len(number.digits) == 0 {
		return Decimal{}, err
	}
	if err := checkDigits(len(number.digits), number.exponent); err != nil {
		return Decimal{}, err
	}
	var d Decimal
	d.value.Negative = number.negative
	d.value.Exponent = int32(number.exponent)
	if len(number.digits) <= 18 {
		coefficient := uint64(0)
		for _, digit := range number.digits {
			coefficient = coefficient*10 + uint64(digit-'0')
		}
		d.value.Coeff.SetUint64(coefficient)
		return d, nil
	}
	if _, ok := d.value.Coeff.SetString(string(number.digits), 10); !ok {
		return Decimal{}, notDecimal(text)
	}
	return d, nil
}

// DecimalText returns the codec of decimals as their canonical text, so that equal numbers are equal bytes and may be
// keys. Decode also takes other ways to write a number, such as 5.00.
func DecimalText() Codec[Decimal] { return decimalCodec{} }

type decimalCodec struct{}

func (decimalCodec) Append(dst []byte, value Decimal) ([]byte, error) {
	return value.append(dst), nil
}

func (decimalCodec) Decode(data []byte) (Decimal, error) {
	d, err := parseDecimal(data)
	if err != nil {
		return Decimal{}, fmt.Errorf("decoding a decimal: %w: %w", ErrMalformed, err)
	}
	return d, nil
}

// MarshalJSONTo writes the decimal for encoding/json/v2.
func (d Decimal) MarshalJSONTo(encoder *jsontext.Encoder) error {
	if quoted, _ := jsonv2.GetOption(encoder.Options(), jsonv2.StringifyNumbers); quoted {
		return QuotedDecimal{d}.MarshalJSONTo(encoder)
	}
	return encoder.WriteValue(d.append(encoder.AvailableBuffer()))
}

// MarshalJSONTo writes the decimal as a string for encoding/json/v2.
func (d QuotedDecimal) MarshalJSONTo(encoder *jsontext.Encoder) error {
	text := append(encoder.AvailableBuffer(), '"')
	return encoder.WriteValue(append(d.append(text), '"'))
}

// AppendJSON writes the decimal as a JSON number, for hand-written [JSONAppender] methods.
func (d Decimal) AppendJSON(dst []byte) ([]byte, error) { return d.append(dst), nil }

// AppendJSON writes the decimal as a JSON string, for hand-written [JSONAppender] methods.
func (d QuotedDecimal) AppendJSON(dst []byte) ([]byte, error) {
	return append(d.append(append(dst, '"')), '"'), nil
}

// UnmarshalJSONFrom reads the decimal for encoding/json/v2.
func (d *Decimal) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	switch value.Kind() {
	case '0':
	case '"':
		if value, err = jsontext.AppendUnquote(nil, value); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: %s where a decimal is needed", ErrMalformed, value.Kind())
	}
	parsed, err := parseDecimal(value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	*d = parsed
	return nil
}
