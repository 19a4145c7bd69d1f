package codecs

import (
	"bytes"
	"encoding/json/jsontext"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// JSONReader reads one JSON value from bytes, for hand-written [JSONDecoder] methods: several times as fast as
// reflection and as strict as [JSON]. Duplicate names, invalid UTF-8, null where a value is asked for, numbers out of
// range and anything after the value are errors.
//
// The first error stops it: later calls return zero values, loops end, and End reports it. So a method reads
//
//	r := codecs.NewJSONReader(data)
//	r.BeginObject()
//	for r.NextMember() {
//		switch string(r.Name()) {
//		case "id":
//			v.ID = r.String()
//		case "timestamp":
//			v.Timestamp = r.Int64()
//		default:
//			r.Unknown()
//		}
//	}
//	return r.End()
//
// Objects have at most 4096 members: it is for messages, whose members are known. Within a loop exactly one value is read a turn. A reader is for one goroutine and keeps a reference to its bytes.
type JSONReader struct {
	data  []byte
	at    int // the offset of the next byte
	fresh bool
	err   error

	name  []byte
	names [24][]byte // of the open objects, each begun by a nil: to find duplicates without allocating
	count int
	more  [][]byte // the names that do not fit
}

// maxMembers bounds the time the search for duplicates takes, which grows with the square of the members.
const maxMembers = 4096

// NewJSONReader returns a reader at the start of data.
func NewJSONReader(data []byte) JSONReader { return JSONReader{data: data} }

// BeginObject enters an object. NextMember leaves it again.
func (r *JSONReader) BeginObject() {
	if r.open('{', "an object") {
		r.push(nil)
	}
}

// BeginArray enters an array. NextElement leaves it again.
func (r *JSONReader) BeginArray() { r.open('[', "an array") }

func (r *JSONReader) open(bracket byte, what string) bool {
	if r.peek() != bracket {
		r.unexpected(what)
		return false
	}
	r.at++
	r.fresh = true
	return true
}

// NextMember goes to the next member of the object and reads its name; at the end it leaves the object and returns
// false. The value must be read next.
func (r *JSONReader) NextMember() bool {
	if !r.next('}') {
		if r.err == nil {
			r.pop()
		}
		return false
	}
	name := r.text("a member name")
	if r.err != nil {
		return false
	}
	if r.peek() != ':' {
		r.unexpected("a colon")
		return false
	}
	r.at++
	if r.seen(name) {
		r.fail("%w: duplicate member %.40q", ErrMalformed, name)
		return false
	}
	r.push(name)
	r.name = name
	return r.err == nil
}

// NextElement goes to the next element of the array; at the end it leaves the array and returns false.
func (r *JSONReader) NextElement() bool { return r.next(']') }

// next passes the comma, or the closing bracket.
func (r *JSONReader) next(closing byte) bool {
	c := r.peek()
	switch {
	case r.err != nil:
		return false
	case c == closing:
		r.at++
		r.fresh = false
		return false
	case r.fresh:
		r.fresh = false
		return true
	case c != ',':
		r.unexpected("a comma")
		return false
	}
	r.at++
	if r.peek() == closing {
		r.unexpected("a value after the comma")
		return false
	}
	return true
}

// Name returns the name of the present member, unescaped. It is valid until the reader is done and must not be changed.
func (r *JSONReader) Name() []byte { return r.name }

// Unknown reports the present member as an [ErrUnknownField]. Use Skip to allow it.
func (r *JSONReader) Unknown() {
	r.fail("%w %.80q", ErrUnknownField, r.name)
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

// End reports the first error. If there was none, and something follows the value, that is an [ErrTrailingData].
func (r *JSONReader) End() error {
	if r.err == nil {
		r.space()
		if r.at < len(r.data) {
			r.fail("%w", ErrTrailingData)
		}
	}
	return r.err
}

// Err reports the first error so far, for methods that read part of a value.
func (r *JSONReader) Err() error { return r.err }

// Fail stops the reader with an error of the caller's, say that a value is out of range.
func (r *JSONReader) Fail(err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("at byte %d: %w", r.at, err)
	}
}

func (r *JSONReader) fail(format string, arguments ...any) {
	r.Fail(fmt.Errorf(format, arguments...))
}

// space passes white space.
func (r *JSONReader) space() {
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is no white space; 0, which begins no JSON, at the end or after an error.
func (r *JSONReader) peek() byte {
	if r.err != nil {
		return 0
	}
	r.space()
	if r.at == len(r.data) {
		return 0
	}
	return r.data[r.at]
}

func (r *JSONReader) unexpected(wanted string) {
	switch {
	case r.err != nil:
	case r.at >= len(r.data):
		r.fail("%w: the end where %s is needed", ErrMalformed, wanted)
	default:
		r.fail("%w: %q where %s is needed", ErrMalformed, rune(r.data[r.at]), wanted)
	}
}

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

// push notes a name of the innermost object, or its beginning.
func (r *JSONReader) push(name []byte) {
	if r.count < len(r.names) {
		r.names[r.count] = name
		r.count++
		return
	}
	if r.more = append(r.more, name); len(r.more) > maxMembers {
		r.fail("%w: an object of more than %d members", ErrMalformed, maxMembers)
	}
}

// pop forgets the names of the innermost object.
func (r *JSONReader) pop() {
	for n := len(r.more); n > 0; n-- {
		if r.more[n-1] == nil {
			r.more = r.more[:n-1]
			return
		}
	}
	r.more = r.more[:0]
	for r.count > 0 {
		r.count--
		if r.names[r.count] == nil {
			return
		}
	}
}

// seen reports whether the innermost object has a member of that name already.
func (r *JSONReader) seen(name []byte) bool {
	for i := len(r.more) - 1; i >= 0; i-- {
		if r.more[i] == nil {
			return false
		}
		if string(r.more[i]) == string(name) {
			return true
		}
	}
	for i := r.count - 1; i >= 0 && r.names[i] != nil; i-- {
		if string(r.names[i]) == string(name) {
			return true
		}
	}
	return false
}
