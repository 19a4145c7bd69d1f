package codecs

import (
	"fmt"
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
