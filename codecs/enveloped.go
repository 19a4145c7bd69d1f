package codecs

import (
	"bytes"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"fmt"
)

// Envelope is a value together with what its record said of it, so that the record can be read, changed and written
// again without loss, also when a newer program wrote it: [Enveloped] keeps the type, the version if it is newer, and
// every member of the JSON object that T does not know.
//
// The zero envelope around a value is one ready to be written: Envelope[T]{Value: v}.
type Envelope[T any] struct {
	// Type is the name of the type; empty in a value to be written means the one the schema gives.
	Type string
	// Version is the schema version; 0 in a value to be written means the present one. A record of an older version
	// is upcast and has the present version then.
	Version int
	// Value is the message. Change it freely.
	Value T

	// rest is nil if T knows all of the body. It is immutable.
	rest *rest
}

// rest is a body of which T does not know everything.
type rest struct {
	whole jsontext.Value // the body as it was read, compact
	known jsontext.Value // what T makes of it
}

// HasUnknown reports whether the record had members T does not know.
func (e Envelope[T]) HasUnknown() bool { return e.rest != nil }

// Enveloped returns the codec of a [Schema] for envelopes: like [Versioned], but what T does not know is kept and
// written again. Its bodies must be [JSON] (or a [Variant] of it); unknown members are accepted whatever the body
// codec's own options say.
//
// What is written is the value with the unknown members put back where they were: in the object they were in, if that
// object is still there. A body with unknown members whose value was not changed is written as it was read, but for
// white space. The elements of a changed array are written as T knows them, since there is no telling which of them
// a member belonged to, and so are changed objects more than 64 levels deep.
func Enveloped[T any](schema Schema[T]) *EnvelopedCodec[T] {
	r := resolve(schema)
	for _, t := range r.types {
		if _, ok := lenient(t.Body); !ok && r.err == nil {
			r.err = fmt.Errorf("%w: schema of %s: type %q: an envelope keeps unknown members of JSON bodies only",
				ErrInvalidCodec, typeName[T](), t.Name)
		}
	}
	return &EnvelopedCodec[T]{schema: r}
}

// EnvelopedCodec is a [HeaderCodec] for envelopes. It is immutable and safe for concurrent use.
type EnvelopedCodec[T any] struct{ schema *resolved[T] }

var (
	_ HeaderCodec[Envelope[int]] = (*EnvelopedCodec[int])(nil)
	_ InBander[Envelope[int]]    = (*EnvelopedCodec[int])(nil)
	_ Checker                    = (*EnvelopedCodec[int])(nil)
)

// Check reports every fault of the schema.
func (c *EnvelopedCodec[T]) Check() error { return c.schema.err }

// Append adds the plain body to dst, as it goes with the headers of AppendHeaders.
func (c *EnvelopedCodec[T]) Append(dst []byte, envelope Envelope[T]) ([]byte, error) {
	t, _, err := c.target(envelope)
	if err != nil {
		return dst, err
	}
	return t.appendBody(dst, envelope)
}

// Decode reads the body of a record without headers: the default type, version 1.
func (c *EnvelopedCodec[T]) Decode(data []byte) (Envelope[T], error) {
	return c.DecodeWithHeaders(nil, data)
}

// AppendHeaders sets [HeaderType] and [HeaderVersion]. An envelope that cannot be written gets no headers: Append
// reports it.
func (c *EnvelopedCodec[T]) AppendHeaders(dst []Header, envelope Envelope[T]) []Header {
	t, version, err := c.target(envelope)
	if err != nil {
		return dst
	}
	if version == t.Version {
		return t.setHeaders(dst)
	}
	headers, err := AppendHeaders(dst, t.Name, version)
	if err != nil {
		return dst
	}
	return headers
}

// DecodeWithHeaders reads a body of the type and version the headers give.
func (c *EnvelopedCodec[T]) DecodeWithHeaders(headers []Header, data []byte) (Envelope[T], error) {
	t, version, err := c.schema.fromHeaders(headers)
	if err != nil {
		return Envelope[T]{}, err
	}
	return c.open(t, version, data)
}

// InBand returns the codec of the same schema that carries type and version in front of the body.
func (c *EnvelopedCodec[T]) InBand() Codec[Envelope[T]] {
	return &inBandEnvelopeCodec[T]{headers: c}
}

// target finds the type and version under which an envelope is written.
func (c *EnvelopedCodec[T]) target(envelope Envelope[T]) (*resolvedType[T], int, error) {
	t, err := c.schema.typeFor(envelope.Value)
	if err != nil {
		return nil, 0, err
	}
	if envelope.Type != "" && envelope.Type != t.Name {
		if c.schema.typeOf != nil {
			return nil, 0, fmt.Errorf("encoding an envelope of type %q: %w: its value is a %q", envelope.Type, ErrUnencodable, t.Name)
		}
		return nil, 0, fmt.Errorf("encoding an envelope: %w: %w %q", ErrUnencodable, ErrUnknownType, envelope.Type)
	}
	switch version := envelope.Version; {
	case version == 0:
		return t, t.Version, nil
	case version < t.Version:
		return nil, 0, fmt.Errorf("encoding %s: %w: version %d is past, %d is written", t.Name, ErrUnencodable, version, t.Version)
	case version > t.Version && !c.schema.tolerateNewer || version > MaxVersion:
		return nil, 0, fmt.Errorf("encoding %s: %w: %w %d", t.Name, ErrUnencodable, ErrNewerVersion, version)
	default:
		return t, version, nil
	}
}

// open reads a body and finds out what T does not know of it.
func (c *EnvelopedCodec[T]) open(t *resolvedType[T], version int, data []byte) (Envelope[T], error) {
	envelope := Envelope[T]{Type: t.Name, Version: max(version, t.Version)}
	if c.schema.err != nil {
		return Envelope[T]{}, c.schema.err
	}
	data, _, err := c.schema.body(t, version, data)
	if err == nil {
		envelope.Value, err = t.newer.Decode(data)
	}
	if err == nil {
		envelope.rest, err = t.remainder(envelope.Value, data)
	}
	if err != nil {
		return Envelope[T]{}, fmt.Errorf("decoding %s version %d: %w", t.Name, version, err)
	}
	return envelope, nil
}

// remainder keeps a body if it has members that the value's own encoding has not.
func (t *resolvedType[T]) remainder(value T, data []byte) (*rest, error) {
	known, err := t.Body.Append(nil, value)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(data, known) {
		return nil, nil
	}
	var whole jsontext.Value
	if err := jsonv2.Unmarshal(data, &whole); err != nil {
		return nil, classify("reading JSON", ErrMalformed, err)
	}
	if err := whole.Compact(); err != nil {
		return nil, classify("reading JSON", ErrMalformed, err)
	}
	if !exceeds(whole, known, 0) {
		return nil, nil
	}
	return &rest{whole: whole, known: known}, nil
}

// appendBody adds the value with what was unknown of it.
func (t *resolvedType[T]) appendBody(dst []byte, envelope Envelope[T]) ([]byte, error) {
	if envelope.rest == nil {
		return t.Body.Append(dst, envelope.Value)
	}
	present, err := t.Body.Append(nil, envelope.Value)
	if err != nil {
		return dst, err
	}
	merged, err := merge(present, envelope.rest.known, envelope.rest.whole, 0)
	if err != nil {
		return dst, classify("putting unknown members back", ErrUnencodable, err)
	}
	return append(dst, merged...), nil
}

// inBandEnvelopeCodec carries type and version in front of the body.
type inBandEnvelopeCodec[T any] struct{ headers *EnvelopedCodec[T] }

func (c *inBandEnvelopeCodec[T]) Check() error { return c.headers.Check() }

func (c *inBandEnvelopeCodec[T]) Append(dst []byte, envelope Envelope[T]) ([]byte, error) {
	t, version, err := c.headers.target(envelope)
	if err != nil {
		return dst, err
	}
	encoded, err := t.appendBody(appendPrefix(dst, t.Name, version), envelope)
	if err != nil {
		return dst, err
	}
	return encoded, nil
}

func (c *inBandEnvelopeCodec[T]) Decode(data []byte) (Envelope[T], error) {
	t, version, body, err := c.headers.schema.parts(data)
	if err != nil {
		return Envelope[T]{}, err
	}
	return c.headers.open(t, version, body)
}
