package calculator

import (
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Number is a finite IEEE 754 double that may be absent. The zero Number is absent, which is not 0.
//
// It is written as Rust's serde_json writes an f64: with the fewest digits that read back as the same number, always with
// a fraction or an exponent (3 is 3.0), with an exponent from 1e16 and below 1e-5. It is read from any JSON number that a
// double can hold, by rounding to the nearest.
type Number struct {
	value   float64
	present bool
}

// errRange says that a number cannot be taken.
var errRange = errors.New("the number is outside of what a double can hold")

// NumberOf returns a Number. NaN and infinities are no numbers here: they give an absent one.
func NumberOf(value float64) Number {
	return Number{value: value, present: !math.IsNaN(value) && !math.IsInf(value, 0)}
}

// Float64 returns the number, 0 where it is absent.
func (n Number) Float64() float64 { return n.value }

// IsZero reports whether the number is absent; 0 itself is not.
func (n Number) IsZero() bool { return !n.present }

// String returns the number as JSON has it.
func (n Number) String() string { return string(n.append(nil)) }

// apply returns the operand applied to a value: ADD or MULTIPLY.
func (n Number) apply(operation string, to Number) (Number, error) {
	var result Number
	switch operation {
	case "ADD":
		result = NumberOf(to.value + n.value)
	case "MULTIPLY":
		result = NumberOf(to.value * n.value)
	default:
		return Number{}, fmt.Errorf("unknown operation %q; want ADD or MULTIPLY", operation)
	}
	if result.IsZero() {
		return Number{}, fmt.Errorf("%s %s to %s: the result is outside of what a double can hold", operation, n, to)
	}
	return result, nil
}

// append appends the number as serde_json does, which takes ryu's pretty format.
func (n Number) append(dst []byte) []byte {
	if !n.present {
		return append(dst, "null"...)
	}
	if n.value == 0 {
		if math.Signbit(n.value) {
			dst = append(dst, '-')
		}
		return append(dst, "0.0"...)
	}
	if tenths := n.value * 10; math.Abs(tenths) < maxTenths && tenths == math.Trunc(tenths) && tenths/10 == n.value {
		return appendTenths(dst, int64(tenths))
	}
	var scratch [32]byte
	text := strconv.AppendFloat(scratch[:0], n.value, 'e', -1, 64) // d.dddde±dd
	mantissa, exponent := split(text)
	switch {
	case exponent < -5 || exponent > 15:
		dst = append(dst, mantissa...)
		dst = append(dst, 'e')
		return strconv.AppendInt(dst, int64(exponent), 10)
	case n.value == math.Trunc(n.value):
		dst = strconv.AppendFloat(dst, n.value, 'f', -1, 64)
		return append(dst, ".0"...)
	}
	return strconv.AppendFloat(dst, n.value, 'f', -1, 64)
}

// maxTenths is below 16 digits and above what is written without an exponent. Of the numbers with at most 15 digits no two are
// the same double: if tenths divided by ten give the number again, they are its shortest digits.
const maxTenths = 1e15

// appendTenths appends a number that has at most one digit behind the point: most have, and need no search for the shortest.
func appendTenths(dst []byte, tenths int64) []byte {
	if tenths < 0 {
		dst, tenths = append(dst, '-'), -tenths
	}
	dst = strconv.AppendInt(dst, tenths/10, 10)
	return append(dst, '.', byte('0'+tenths%10))
}

// split divides a number in scientific notation.
func split(text []byte) (mantissa []byte, exponent int) {
	at := len(text) - 1
	for text[at] != 'e' {
		at--
	}
	for _, digit := range text[at+2:] {
		exponent = 10*exponent + int(digit-'0')
	}
	if text[at+1] == '-' {
		exponent = -exponent
	}
	return text[:at], exponent
}

// MarshalJSONTo writes the number; an absent one is null.
func (n Number) MarshalJSONTo(encoder *jsontext.Encoder) error {
	return encoder.WriteValue(n.append(encoder.AvailableBuffer()))
}

// UnmarshalJSONFrom reads a JSON number, or null for an absent one.
func (n *Number) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case jsontext.KindNull:
		*n = Number{}
		return nil
	case jsontext.KindNumber:
		value, err := strconv.ParseFloat(token.String(), 64)
		if err != nil {
			return errRange
		}
		*n = NumberOf(value)
		return nil
	}
	return fmt.Errorf("want a number, not %s", token.Kind())
}
