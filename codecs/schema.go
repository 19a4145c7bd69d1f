package codecs

import (
	"errors"
	"fmt"
	"strconv"
)

// Type describes one type of message in a [Schema].
type Type[T any] struct {
	// Name is what records call the type, as "calculator.command": UTF-8 without control characters, at most
	// [MaxTypeLength] bytes. It is forever.
	Name string

	// Version is the schema version that is written, from 1. It is raised with every change to the body that an
	// older reader would misread.
	Version int

	// Body is the codec of the present version's body.
	Body Codec[T]

	// Upcasters lift older bodies step by step: one for each version that is still read, without a gap up to
	// Version-1. Older ones may be left out once no record of theirs is left.
	Upcasters []Upcaster
}

// Schema describes the messages of a topic or store, which share the Go type T: mostly one [Type], or several, with T
// an interface (see [Variant]) or a struct that covers them all. It is the argument of [Versioned] and [Enveloped],
// which copy it.
type Schema[T any] struct {
	// Types are the types a reader knows.
	Types []Type[T]

	// Default names the type of a record that does not say. It may be left out: then it is the first of Types. A
	// record that does not say its version has version 1: it comes from a producer that knows nothing of versions.
	Default string

	// TypeOf names the type of a value; it is needed if there are several Types.
	TypeOf func(value T) string

	// TolerateNewer lets records be read whose version is above the known one, as if they had the known one, with
	// members that are unknown allowed. Without it such a record is an [ErrNewerVersion].
	TolerateNewer bool

	// AcceptBare lets the in-band codec read bytes that do not begin with the magic byte as a body of the default
	// type and version 1, so that a topic or store of plain JSON can move to the envelope. The bodies must not be
	// able to begin with that byte: no UTF-8 text is.
	AcceptBare bool
}

// resolvedType is a Type with what follows from it worked out.
type resolvedType[T any] struct {
	Type[T]
	upcasters map[int]func([]byte) ([]byte, error)
	oldest    int      // the lowest version that is read
	newer     Codec[T] // reads bodies of tolerated newer versions
	headers   [2]Header
	prefix    []byte // of the in-band envelope
}

// resolved is a Schema with what follows from it worked out. It is immutable.
type resolved[T any] struct {
	types         map[string]*resolvedType[T]
	standard      *resolvedType[T] // of records that do not say
	typeOf        func(T) string
	tolerateNewer bool
	acceptBare    bool
	err           error // every fault, joined
}

func resolve[T any](schema Schema[T]) *resolved[T] {
	r := &resolved[T]{
		types: make(map[string]*resolvedType[T], len(schema.Types)), typeOf: schema.TypeOf,
		tolerateNewer: schema.TolerateNewer, acceptBare: schema.AcceptBare,
	}
	var faults []error
	for i, described := range schema.Types {
		t, err := resolveType(described)
		if err != nil {
			faults = append(faults, fmt.Errorf("type %d, %q: %w", i+1, described.Name, err))
		}
		if r.types[t.Name] != nil {
			faults = append(faults, fmt.Errorf("type %d, %q: the name is given twice", i+1, t.Name))
		}
		r.types[t.Name] = t
		if t.Name == schema.Default || i == 0 && schema.Default == "" {
			r.standard = t
		}
	}
	switch {
	case len(schema.Types) == 0:
		faults = append(faults, errors.New("it has no types"))
	case r.standard == nil:
		faults = append(faults, fmt.Errorf("its default %q is none of its types", schema.Default))
	}
	if len(schema.Types) > 1 && schema.TypeOf == nil {
		faults = append(faults, errors.New("it has several types and needs TypeOf to tell values apart"))
	}
	if len(faults) > 0 {
		r.err = fmt.Errorf("%w: schema of %s: %w", ErrInvalidCodec, typeName[T](), errors.Join(faults...))
	}
	return r
}

func resolveType[T any](described Type[T]) (*resolvedType[T], error) {
	t := &resolvedType[T]{
		Type: described, upcasters: make(map[int]func([]byte) ([]byte, error), len(described.Upcasters)),
		oldest: described.Version, newer: described.Body,
	}
	faults := []error{checkTypeName(t.Name), checkVersion(t.Version), Check(t.Body)}
	for _, upcaster := range described.Upcasters {
		switch {
		case upcaster.Apply == nil:
			faults = append(faults, fmt.Errorf("its upcaster from version %d does nothing", upcaster.From))
		case upcaster.From < 1 || upcaster.From >= t.Version:
			faults = append(faults, fmt.Errorf("its upcaster from version %d is not below version %d", upcaster.From, t.Version))
		case t.upcasters[upcaster.From] != nil:
			faults = append(faults, fmt.Errorf("it has two upcasters from version %d", upcaster.From))
		}
		t.upcasters[upcaster.From] = upcaster.Apply
		t.oldest = min(t.oldest, upcaster.From)
	}
	if len(described.Upcasters) > 0 {
		for version := max(t.oldest, 1); version < min(t.Version, MaxVersion); version++ {
			if _, ok := t.upcasters[version]; !ok {
				faults = append(faults, fmt.Errorf("it has no upcaster from version %d", version))
				break
			}
		}
	}
	if tolerant, ok := lenient(t.Body); ok {
		t.newer = tolerant
	}
	t.headers = [2]Header{
		{Key: HeaderType, Value: []byte(t.Name)},
		{Key: HeaderVersion, Value: strconv.AppendInt(nil, int64(t.Version), 10)},
	}
	t.prefix = appendPrefix(nil, t.Name, t.Version)
	return t, errors.Join(faults...)
}

// typeFor finds the type under which a value is written.
func (r *resolved[T]) typeFor(value T) (*resolvedType[T], error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.typeOf == nil {
		return r.standard, nil
	}
	name := r.typeOf(value)
	if t := r.types[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("encoding %T: %w: %w %q: the schema does not list it", value, ErrUnencodable, ErrUnknownType, name)
}

// typeNamed finds a type by its name in a record, given as the bytes there; nil means that the record does not say.
func (r *resolved[T]) typeNamed(name []byte) (*resolvedType[T], error) {
	if r.err != nil {
		return nil, r.err
	}
	if name == nil {
		return r.standard, nil
	}
	if t := r.types[string(name)]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("decoding %s: %w %.80q", typeName[T](), ErrUnknownType, name)
}

// body brings a body to the present version and picks the codec that reads it.
func (r *resolved[T]) body(t *resolvedType[T], version int, data []byte) ([]byte, Codec[T], error) {
	if version > t.Version {
		if !r.tolerateNewer {
			return nil, nil, fmt.Errorf("decoding %s: %w: the record has %d, known are versions up to %d",
				t.Name, ErrNewerVersion, version, t.Version)
		}
		return data, t.newer, nil
	}
	data, err := t.upcast(version, data)
	return data, t.Body, err
}

// decode reads a body of a type and version.
func (r *resolved[T]) decode(t *resolvedType[T], version int, data []byte) (T, error) {
	var zero T
	data, codec, err := r.body(t, version, data)
	if err != nil {
		return zero, err
	}
	value, err := codec.Decode(data)
	if err != nil {
		return zero, fmt.Errorf("decoding %s version %d: %w", t.Name, version, err)
	}
	return value, nil
}

// fromHeaders finds the type and version that headers give.
func (r *resolved[T]) fromHeaders(headers []Header) (*resolvedType[T], int, error) {
	name, number := findHeaders(headers)
	version := 1
	if number != nil {
		var err error
		if version, err = parseVersion(number.Value); err != nil {
			return nil, 0, fmt.Errorf("reading header %s: %w", HeaderVersion, err)
		}
	}
	if name == nil {
		t, err := r.typeNamed(nil)
		return t, version, err
	}
	t, err := r.typeNamed(notNil(name.Value))
	return t, version, err
}
