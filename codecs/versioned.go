package codecs

// Versioned returns the codec of a [Schema]: values of T, whose type name and schema version ride in record headers
// while the body stays plain. Its InBand method gives the codec that puts them in front of the body, for stores and
// wherever there are no headers.
//
// A record without headers is of the schema's default type and version 1; one of an older version is upcast; one of a
// newer is an [ErrNewerVersion] unless the schema tolerates it. Writing gives the present version. To read a record,
// change it and write it without losing what a newer writer put there, see [Enveloped].
//
// A schema with faults gives a codec all the same, whose Check reports them.
func Versioned[T any](schema Schema[T]) *VersionedCodec[T] {
	return &VersionedCodec[T]{schema: resolve(schema)}
}

// VersionedJSON returns the [Versioned] codec of a single type with JSON bodies.
func VersionedJSON[T any](name string, version int, upcasters ...Upcaster) *VersionedCodec[T] {
	return Versioned(Schema[T]{Types: []Type[T]{{Name: name, Version: version, Body: JSON[T](), Upcasters: upcasters}}})
}

// VersionedCodec is a [HeaderCodec] over a [Schema]. It is immutable and safe for concurrent use.
type VersionedCodec[T any] struct{ schema *resolved[T] }

var (
	_ HeaderCodec[int] = (*VersionedCodec[int])(nil)
	_ InBander[int]    = (*VersionedCodec[int])(nil)
	_ Checker          = (*VersionedCodec[int])(nil)
)

// Check reports every fault of the schema.
func (c *VersionedCodec[T]) Check() error { return c.schema.err }

// Append adds the plain body of value to dst, as it goes with the headers of AppendHeaders.
func (c *VersionedCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	t, err := c.schema.typeFor(value)
	if err != nil {
		return dst, err
	}
	return t.Body.Append(dst, value)
}

// Decode reads the body of a record without headers: the default type, version 1.
func (c *VersionedCodec[T]) Decode(data []byte) (T, error) { return c.DecodeWithHeaders(nil, data) }

// AppendHeaders sets [HeaderType] and [HeaderVersion]. A value that has no type in the schema gets no headers: Append
// reports it.
func (c *VersionedCodec[T]) AppendHeaders(dst []Header, value T) []Header {
	t, err := c.schema.typeFor(value)
	if err != nil {
		return dst
	}
	return t.setHeaders(dst)
}

// DecodeWithHeaders reads a body of the type and version the headers give.
func (c *VersionedCodec[T]) DecodeWithHeaders(headers []Header, data []byte) (T, error) {
	t, version, err := c.schema.fromHeaders(headers)
	if err != nil {
		var zero T
		return zero, err
	}
	return c.schema.decode(t, version, data)
}

// InBand returns the codec of the same schema that carries type and version in an envelope before the body; its
// bytes are laid down in docs/format/envelope.md.
func (c *VersionedCodec[T]) InBand() Codec[T] { return &inBandCodec[T]{schema: c.schema} }

// setHeaders sets the headers of the present version.
func (t *resolvedType[T]) setHeaders(dst []Header) []Header {
	dst = setHeader(dst, HeaderType, t.headers[0].Value)
	return setHeader(dst, HeaderVersion, t.headers[1].Value)
}

// inBandCodec carries type and version in front of the body.
type inBandCodec[T any] struct{ schema *resolved[T] }

func (c *inBandCodec[T]) Check() error { return c.schema.err }

func (c *inBandCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	t, err := c.schema.typeFor(value)
	if err != nil {
		return dst, err
	}
	encoded, err := t.Body.Append(append(dst, t.prefix...), value)
	if err != nil {
		return dst, err
	}
	return encoded, nil
}

func (c *inBandCodec[T]) Decode(data []byte) (T, error) {
	t, version, body, err := c.schema.parts(data)
	if err != nil {
		var zero T
		return zero, err
	}
	return c.schema.decode(t, version, body)
}
