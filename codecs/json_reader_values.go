package codecs

import (
	"bytes"
	"encoding/json/jsontext"
	"math"
	"strconv"
	"unicode/utf8"
)

// Kind tells what value comes next without reading it: one of the kinds that begin a value, or 0 if none does.
func (r *JSONReader) Kind() jsontext.Kind {
	switch c := r.peek(); {
	case c == '-' || c >= '0' && c <= '9':
		return '0'
	case c == '"' || c == '{' || c == '[' || c == 't' || c == 'f' || c == 'n':
		return jsontext.Kind(c)
	}
	return 0
}

// String reads a string.
func (r *JSONReader) String() string { return string(r.text("a string")) }

// OneOf reads a string; one that is among known is returned without allocating. Others are returned too: it is for the
// caller to refuse them.
func (r *JSONReader) OneOf(known ...string) string {
	text := r.text("a string")
	for _, candidate := range known {
		if string(text) == candidate {
			return candidate
		}
	}
	return string(text)
}

// Bool reads true or false.
func (r *JSONReader) Bool() bool {
	switch c := r.peek(); {
	case c == 't' && r.literal("true"):
		return true
	case c == 'f' && r.literal("false"):
		return false
	}
	r.unexpected("a boolean")
	return false
}

// Null passes a null and reports whether there was one; any other value is left to be read.
func (r *JSONReader) Null() bool { return r.peek() == 'n' && r.literal("null") }

func (r *JSONReader) literal(word string) bool {
	if !bytes.HasPrefix(r.data[r.at:], []byte(word)) {
		return false
	}
	r.at += len(word)
	return true
}

// Int64 reads a number without fraction or exponent that fits 64 bits.
func (r *JSONReader) Int64() int64 {
	token, integer := r.number()
	if r.err != nil {
		return 0
	}
	if len(token) <= 18 && integer {
		return smallInteger(token)
	}
	value, err := strconv.ParseInt(string(token), 10, 64)
	if err != nil {
		r.fail("%w: %.40q is no 64-bit integer", ErrMalformed, token)
	}
	return value
}

// Float64 reads a number. One beyond the range of a float64 is an error.
func (r *JSONReader) Float64() float64 {
	token, integer := r.number()
	if r.err != nil {
		return 0
	}
	if len(token) <= 15 && integer && token[0] != '-' {
		return float64(smallInteger(token))
	}
	value, err := strconv.ParseFloat(string(token), 64)
	if err != nil || math.IsInf(value, 0) {
		r.fail("%w: %.40q is no 64-bit float", ErrMalformed, token)
		return 0
	}
	return value
}

// smallInteger converts an integer token of at most 18 bytes.
func smallInteger(token []byte) int64 {
	digits, negative := bytes.CutPrefix(token, []byte("-"))
	value := int64(0)
	for _, digit := range digits {
		value = value*10 + int64(digit-'0')
	}
	if negative {
		return -value
	}
	return value
}

// Decimal reads a decimal, from a number or a string.
func (r *JSONReader) Decimal() Decimal {
	var token []byte
	if r.peek() == '"' {
		token = r.text("a decimal")
	} else {
		token, _ = r.number()
	}
	if r.err != nil {
		return Decimal{}
	}
	value, err := parseDecimal(token)
	if err != nil {
		r.fail("%w: %w", ErrMalformed, err)
	}
	return value
}

// Value reads any value and returns a copy of its raw bytes.
func (r *JSONReader) Value() jsontext.Value { return r.raw().Clone() }

// Skip passes any value, checking that it is one.
func (r *JSONReader) Skip() { r.raw() }

// text reads a string and returns its bytes, of the input where it has no escapes.
func (r *JSONReader) text(what string) []byte {
	if r.peek() != '"' {
		r.unexpected(what)
		return nil
	}
	start := r.at + 1
	end := start + plainLength(r.data[start:])
	if end < len(r.data) && r.data[end] == '"' {
		r.at = end + 1
		return r.data[start:end:end]
	}
	for ; end < len(r.data); end++ {
		switch r.data[end] {
		case '"':
			r.at = end + 1
			return r.unquote(r.data[start-1 : end+1])
		case '\\':
			end++
		}
	}
	r.at = len(r.data)
	r.unexpected("the end of a string")
	return nil
}

// unquote resolves escapes and checks UTF-8.
func (r *JSONReader) unquote(quoted []byte) []byte {
	if inner := quoted[1 : len(quoted)-1]; utf8.Valid(inner) && bytes.IndexFunc(inner, needsUnquoting) < 0 {
		return inner
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(quoted)), quoted)
	if err != nil {
		r.fail("%w: %w", ErrMalformed, err)
		return nil
	}
	return text
}

func needsUnquoting(c rune) bool { return c < ' ' || c == '\\' }

// number reads the token of a number and reports whether it is one without fraction or exponent.
func (r *JSONReader) number() (token []byte, integer bool) {
	r.peek()
	if r.err != nil {
		return nil, false
	}
	rest := bytes.TrimPrefix(r.data[r.at:], []byte("-"))
	whole, rest := cutDigits(rest)
	valid := len(whole) == 1 || len(whole) > 1 && whole[0] != '0'
	integer = true
	if len(rest) > 0 && rest[0] == '.' {
		var places []byte
		places, rest = cutDigits(rest[1:])
		valid = valid && len(places) > 0
		integer = false
	}
	if len(rest) > 0 && rest[0]|0x20 == 'e' {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		var exponent []byte
		exponent, rest = cutDigits(rest)
		valid = valid && len(exponent) > 0
		integer = false
	}
	if !valid {
		r.unexpected("a number")
		return nil, false
	}
	end := len(r.data) - len(rest)
	token = r.data[r.at:end:end]
	r.at = end
	return token, integer
}

// raw reads any value. Its extent is found first, then the whole of it is checked.
func (r *JSONReader) raw() jsontext.Value {
	r.peek()
	if r.err != nil {
		return nil
	}
	value := jsontext.Value(r.data[r.at : r.at+extent(r.data[r.at:])])
	if !value.IsValid() {
		r.unexpected("a value")
		return nil
	}
	r.at += len(value)
	return value
}

// extent returns the length of the value data starts with, if it is one.
func extent(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return min(i+1, len(data))
			}
		case '{', '[':
			depth++
		case '}', ']', ',', ' ', '\t', '\r', '\n':
			closing := data[i] == '}' || data[i] == ']'
			if depth == 0 {
				return i
			}
			if closing {
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	return len(data)
}
