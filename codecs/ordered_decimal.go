package codecs

import (
	"bytes"
	"fmt"
	"strconv"
)

// The first byte of an ordered decimal. What follows it is complemented for negative numbers.
const (
	decimalNegative = 0x01
	decimalZero     = 0x02
	decimalPositive = 0x03
)

// exponentBias is added to the exponent, which is -99 to 100, for the number as 0.d₁d₂… times ten to it.
const exponentBias = 0x80

// OrderedDecimal returns the ordered codec of exact decimals. A price takes five bytes or so: its sign, its exponent, two
// digits a byte, an end. The plain encoding is that of [DecimalText].
func OrderedDecimal() Ordered[Decimal] { return Ordered[Decimal]{part: decimalPart{}} }

type decimalPart struct{}

func (decimalPart) check() error { return nil }

func (decimalPart) append(dst []byte, value Decimal, mask byte) ([]byte, error) {
	switch value.Sign() {
	case 0:
		return append(dst, decimalZero^mask), nil
	case -1:
		dst = append(dst, decimalNegative^mask)
		mask = ^mask
	default:
		dst = append(dst, decimalPositive^mask)
	}
	var space [2*MaxDecimalDigits + 2]byte
	digits := value.digits(space[:0])
	exponent := len(digits) + int(value.value.Exponent)
	digits = bytes.TrimRight(digits, "0")
	dst = append(dst, byte(exponent+exponentBias)^mask)
	for i := 0; i < len(digits); i += 2 {
		pair := (digits[i] - '0') * 10
		if i+1 < len(digits) {
			pair += digits[i+1] - '0'
		}
		dst = append(dst, (pair+1)^mask)
	}
	return append(dst, mask), nil
}

// digits appends the decimal digits of the coefficient.
func (d *Decimal) digits(dst []byte) []byte {
	if d.value.Coeff.IsUint64() {
		return strconv.AppendUint(dst, d.value.Coeff.Uint64(), 10)
	}
	return d.value.Coeff.Append(dst, 10)
}

func (decimalPart) length(data []byte, mask byte) (int, error) {
	if len(data) == 0 {
		return 0, wantLength("an ordered decimal", 1, 0)
	}
	switch data[0] ^ mask {
	case decimalZero:
		return 1, nil
	case decimalNegative:
		mask = ^mask
	case decimalPositive:
	default:
		return 0, fmt.Errorf("decoding an ordered decimal: %w: it begins with %#02x", ErrMalformed, data[0])
	}
	if len(data) > 2 {
		if end := bytes.IndexByte(data[2:], mask); end >= 0 {
			return 2 + end + 1, nil
		}
	}
	return 0, fmt.Errorf("decoding an ordered decimal: %w: it has no end", ErrMalformed)
}

// read builds the text of the number and reads that: it is held against all limits there.
func (decimalPart) read(data []byte, mask byte) (Decimal, error) {
	if len(data) == 1 {
		return Decimal{}, nil
	}
	var space [2*MaxDecimalDigits + 16]byte
	text := space[:0]
	if data[0]^mask == decimalNegative {
		text, mask = append(text, '-'), ^mask
	}
	exponent := int(data[1]^mask) - exponentBias
	pairs := data[2 : len(data)-1]
	if len(pairs) == 0 || len(pairs) > MaxDecimalDigits {
		return Decimal{}, malformedDecimal(data)
	}
	for _, pair := range pairs {
		pair := (pair ^ mask) - 1 // it is not 0: that would be the end
		if pair > 99 {
			return Decimal{}, malformedDecimal(data)
		}
		text = append(text, '0'+pair/10, '0'+pair%10)
	}
	digits := 2 * len(pairs)
	first, last := (pairs[0]^mask)-1, (pairs[len(pairs)-1]^mask)-1
	if first < 10 || last == 0 {
		return Decimal{}, malformedDecimal(data) // another encoding of a number that has one
	}
	text = strconv.AppendInt(append(text, 'e'), int64(exponent-digits), 10)
	number, err := parseDecimal(text)
	if err != nil {
		return Decimal{}, fmt.Errorf("decoding an ordered decimal: %w: %w", ErrMalformed, err)
	}
	return number, nil
}

func malformedDecimal(data []byte) error {
	return fmt.Errorf("decoding an ordered decimal: %w: the bytes % x", ErrMalformed, data[:min(len(data), 20)])
}

func (p decimalPart) plain(dst, data []byte, mask byte) []byte {
	value, err := p.read(data, mask)
	if err != nil {
		return append(dst, data...)
	}
	return value.append(dst)
}

func (decimalPart) shape() string { return "decimal" }
