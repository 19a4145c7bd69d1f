package codecs

import (
	"bytes"
	"fmt"
)

// scannedDecimal is a number as text: digits without zeros at either end, times ten to the exponent. No digits are 0.
type scannedDecimal struct {
	negative bool
	digits   []byte
	exponent int
}

// scanDecimal reads the syntax of a JSON number (RFC 8259, section 6).
func scanDecimal(text []byte) (scannedDecimal, error) {
	if len(text) > maxDecimalInput {
		return scannedDecimal{}, fmt.Errorf("a decimal of %d bytes is above the limit of %d", len(text), maxDecimalInput)
	}
	var number scannedDecimal
	rest, negative := bytes.CutPrefix(text, []byte("-"))
	number.negative = negative
	whole, rest := cutDigits(rest)
	if len(whole) == 0 || len(whole) > 1 && whole[0] == '0' {
		return scannedDecimal{}, notDecimal(text)
	}
	number.digits = append(make([]byte, 0, len(text)), whole...)
	if fraction, found := bytes.CutPrefix(rest, []byte(".")); found {
		var places []byte
		if places, rest = cutDigits(fraction); len(places) == 0 {
			return scannedDecimal{}, notDecimal(text)
		}
		number.digits = append(number.digits, places...)
		number.exponent = -len(places)
	}
	if len(rest) > 0 && rest[0]|0x20 == 'e' {
		exponent, ok := scanExponent(rest[1:])
		if !ok {
			return scannedDecimal{}, notDecimal(text)
		}
		number.exponent += exponent
		rest = nil
	}
	if len(rest) > 0 {
		return scannedDecimal{}, notDecimal(text)
	}
	number.trim()
	return number, nil
}

func notDecimal(text []byte) error { return fmt.Errorf("%.40q is no decimal number", text) }

// trim takes superfluous zeros off both ends.
func (n *scannedDecimal) trim() {
	n.digits = bytes.TrimLeft(n.digits, "0")
	significant := bytes.TrimRight(n.digits, "0")
	n.exponent += len(n.digits) - len(significant)
	n.digits = significant
}

// scanExponent reads an exponent. One too large to matter stops growing, so that it cannot overflow.
func scanExponent(text []byte) (int, bool) {
	negative := false
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		negative = text[0] == '-'
		text = text[1:]
	}
	digits, rest := cutDigits(text)
	if len(digits) == 0 || len(rest) > 0 {
		return 0, false
	}
	exponent := 0
	for _, digit := range digits {
		exponent = min(exponent*10+int(digit-'0'), 10*maxDecimalInput)
	}
	if negative {
		exponent = -exponent
	}
	return exponent, true
}

// cutDigits splits off the leading digits.
func cutDigits(text []byte) (digits, rest []byte) {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return text[:n], text[n:]
}
