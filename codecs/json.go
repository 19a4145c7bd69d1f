package codecs

import (
	"bytes"
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"fmt"
	"reflect"
	"sync"
)

// JSONAppender is implemented by types that write their own JSON. [JSON] calls it in place of reflection for the
// value as a whole; a field of another struct is reached by encoding/json/v2's own MarshalJSONTo instead.
type JSONAppender interface {
	// AppendJSON adds exactly one JSON value to dst and returns the extended slice. Equal values give equal bytes.
	AppendJSON(dst []byte) ([]byte, error)
}

// JSONDecoder is implemented by types that read their own JSON. [JSON] calls it, on a pointer to a zero value, in
// place of reflection for the value as a whole. It is then the method's own duty to be strict.
type JSONDecoder interface {
	// DecodeJSON reads exactly one JSON value, the whole of data, and keeps no reference to data.
	DecodeJSON(data []byte) error
}

// JSONOption changes how [JSON] reads.
type JSONOption struct{ apply func(*jsonSettings) }

type jsonSettings struct{ allowUnknown bool }

// AllowUnknown lets objects have members their type does not know. They are dropped, unless the type has a field
// tagged `json:",embed"` of type jsontext.Value or a map, which takes them and writes them back.
func AllowUnknown() JSONOption {
	return JSONOption{apply: func(s *jsonSettings) { s.allowUnknown = true }}
}

// maxPooled is the size in bytes above which a buffer is left to the garbage collector rather than kept.
const maxPooled = 64 << 10

// JSON returns the codec of values as JSON (RFC 8259) by encoding/json/v2 and its struct tags.
//
// Reading is strict where laxness loses data: rejected are names given twice in one object, invalid UTF-8, anything
// after the value, names in another case, members the type does not know (see [AllowUnknown]), and a bare null for a
// type that has no nil. A member that is absent, or null, leaves its field zero: what must be there is for validation
// to say. Writing is deterministic: map keys are sorted, struct members come in the order of their fields, and there
// is no white space. NaN, infinities and strings that are not UTF-8 are an [ErrUnencodable].
//
// If *T implements [JSONAppender] or [JSONDecoder] those methods are used; so are those of T when T is a pointer.
// Encoding allocates nothing when dst has room and the type has no methods that do.
func JSON[T any](options ...JSONOption) Codec[T] {
	var settings jsonSettings
	for _, option := range options {
		if option.apply != nil {
			option.apply(&settings)
		}
	}
	return newJSONCodec[T](settings)
}

func newJSONCodec[T any](settings jsonSettings) *jsonCodec[T] {
	codec := &jsonCodec[T]{settings: settings, name: typeName[T](), nullable: nullable[T]()}
	codec.encode = jsonv2.Deterministic(true)
	codec.decode = jsonv2.RejectUnknownMembers(!settings.allowUnknown)
	codec.pointer = reflect.TypeFor[T]().Kind() == reflect.Pointer
	codec.scratches.New = func() any { return newScratch[T]() }
	return codec
}

// jsonCodec is immutable but for its pool.
type jsonCodec[T any] struct {
	settings       jsonSettings
	name           string
	encode, decode jsonv2.Options
	pointer        bool // T is a pointer: its own method set is the one with the fast methods
	nullable       bool
	scratches      sync.Pool // of *scratch[T]
}

// scratch holds what would escape to the heap at each call: the value whose address json takes, and the buffer.
type scratch[T any] struct {
	value    T
	buffer   bytes.Buffer
	appender JSONAppender // the address of value, if it has the method
	decoder  JSONDecoder
}

func newScratch[T any]() *scratch[T] {
	s := &scratch[T]{}
	s.appender, _ = any(&s.value).(JSONAppender)
	s.decoder, _ = any(&s.value).(JSONDecoder)
	return s
}

func (c *jsonCodec[T]) take() *scratch[T] { return c.scratches.Get().(*scratch[T]) }

// give returns a scratch to the pool without what it points to.
func (c *jsonCodec[T]) give(s *scratch[T]) {
	var zero T
	s.value = zero
	if s.buffer.Cap() > maxPooled {
		s.buffer = bytes.Buffer{}
	}
	s.buffer.Reset()
	c.scratches.Put(s)
}

func (c *jsonCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	s := c.take()
	defer c.give(s)
	s.value = value
	if appender, ok := c.appender(s); ok {
		encoded, err := appender.AppendJSON(dst)
		if err != nil {
			return dst, classify("encoding "+c.name+" as JSON", ErrUnencodable, err)
		}
		return notNil(encoded), nil
	}
	if err := jsonv2.MarshalWrite(&s.buffer, &s.value, c.encode); err != nil {
		return dst, classify("encoding "+c.name+" as JSON", ErrUnencodable, err)
	}
	return append(dst, s.buffer.Bytes()...), nil
}

// appender finds the fast method of the value in s. A nil pointer has none: it is null.
func (c *jsonCodec[T]) appender(s *scratch[T]) (JSONAppender, bool) {
	if !c.pointer {
		return s.appender, s.appender != nil
	}
	appender, ok := any(s.value).(JSONAppender)
	if !ok || reflect.ValueOf(s.value).IsNil() {
		return nil, false
	}
	return appender, true
}

func (c *jsonCodec[T]) Decode(data []byte) (T, error) {
	var zero T
	null := isNull(data)
	if null && !c.nullable {
		return zero, fmt.Errorf("decoding JSON as %s: %w: null where a value is needed", c.name, ErrMalformed)
	}
	s := c.take()
	defer c.give(s)
	if decoder, ok := c.decoder(s, null); ok {
		if err := decoder.DecodeJSON(data); err != nil {
			return zero, classify("decoding JSON as "+c.name, ErrMalformed, err)
		}
		return s.value, nil
	}
	if err := jsonv2.Unmarshal(data, &s.value, c.decode); err != nil {
		return zero, c.decodeError(data, err)
	}
	return s.value, nil
}

// decoder finds the fast method of the zero value in s, making the value a pointer points to.
func (c *jsonCodec[T]) decoder(s *scratch[T], null bool) (JSONDecoder, bool) {
	if !c.pointer {
		return s.decoder, s.decoder != nil
	}
	if null || !reflect.TypeFor[T]().Implements(reflect.TypeFor[JSONDecoder]()) {
		return nil, false
	}
	s.value = reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
	return any(s.value).(JSONDecoder), true
}

// decodeError finds out which kind of error stopped json. It may take its time.
func (c *jsonCodec[T]) decodeError(data []byte, err error) error {
	doing := "decoding JSON as " + c.name
	if errors.Is(err, jsonv2.ErrUnknownName) {
		return fmt.Errorf("%s: %w: %w", doing, ErrUnknownField, err)
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	if decoder.SkipValue() == nil && len(bytes.Trim(data[decoder.InputOffset():], " \t\r\n")) > 0 {
		return fmt.Errorf("%s: %w: %w", doing, ErrTrailingData, err)
	}
	return classify(doing, ErrMalformed, err)
}

func (c *jsonCodec[T]) lenient() Codec[T] {
	if c.settings.allowUnknown {
		return c
	}
	settings := c.settings
	settings.allowUnknown = true
	return newJSONCodec[T](settings)
}

// lenient returns the variant of a codec that accepts unknown members; false for a codec that is no JSON.
func lenient[T any](codec Codec[T]) (Codec[T], bool) {
	if l, ok := codec.(interface{ lenient() Codec[T] }); ok {
		codec = l.lenient()
		return codec, codec != nil
	}
	return nil, false
}

// nullable reports whether null means something to T: a nil, or what its own method makes of it.
func nullable[T any]() bool {
	switch t := reflect.TypeFor[T](); t.Kind() {
	case reflect.Pointer, reflect.Interface:
		return true
	default:
		p := reflect.PointerTo(t)
		return p.Implements(reflect.TypeFor[jsonv2.UnmarshalerFrom]()) || p.Implements(reflect.TypeFor[json.Unmarshaler]()) ||
			p.Implements(reflect.TypeFor[JSONDecoder]())
	}
}

// isNull reports whether data starts as a JSON null does. No other value starts with that letter.
func isNull(data []byte) bool {
	for _, b := range data {
		switch b {
		case ' ', '\t', '\r', '\n':
		default:
			return b == 'n'
		}
	}
	return false
}
