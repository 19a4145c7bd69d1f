package codecs

import (
	"bytes"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Object is a JSON object as an upcaster sees it: members in their order, each value still raw, so that what the
// upcaster does not touch stays as it was written, to the digit. It is for one goroutine.
type Object struct{ members []member }

type member struct {
	name  string
	value jsontext.Value
}

// ParseObject reads a JSON object, with the strictness of [JSON]. It keeps no reference to data.
func ParseObject(data []byte) (*Object, error) {
	object, err := parseObject(data)
	if err != nil {
		return nil, classify("reading a JSON object", ErrMalformed, err)
	}
	return object, nil
}

func parseObject(data []byte) (*Object, error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, truncated(err)
	}
	if token.Kind() != '{' {
		return nil, fmt.Errorf("%w: %s where an object is needed", ErrMalformed, token.Kind())
	}
	object := &Object{}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, truncated(err)
		}
		text := name.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, truncated(err)
		}
		object.members = append(object.members, member{name: text, value: value.Clone()})
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, truncated(err)
	}
	if len(bytes.Trim(data[decoder.InputOffset():], " \t\r\n")) > 0 {
		return nil, ErrTrailingData
	}
	return object, nil
}

// truncated names an end of input within a value for what it is.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Append adds the object as JSON to dst and returns the extended slice.
func (o *Object) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, '{')
	for i, m := range o.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = jsontext.AppendQuote(dst, m.name); err != nil {
			return dst[:start], fmt.Errorf("writing member %q: %w: %w", m.name, ErrUnencodable, err)
		}
		dst = append(dst, ':')
		dst = append(dst, m.value...)
	}
	return append(dst, '}'), nil
}

// Names returns the names of the members in their order.
func (o *Object) Names() []string {
	names := make([]string, len(o.members))
	for i, m := range o.members {
		names[i] = m.name
	}
	return names
}

// Get returns the raw value of a member; it must not be changed. The second result is false if there is none.
func (o *Object) Get(name string) (jsontext.Value, bool) {
	if i := o.index(name); i >= 0 {
		return o.members[i].value, true
	}
	return nil, false
}

// As reads the value of a member as a T, with the strictness of [JSON]. A member that is absent is an [ErrMalformed].
func (o *Object) As[T any](name string) (T, error) {
	raw, ok := o.Get(name)
	if !ok {
		var zero T
		return zero, fmt.Errorf("reading member %q: %w: it is absent", name, ErrMalformed)
	}
	value, err := JSON[T]().Decode(raw)
	if err != nil {
		return value, fmt.Errorf("reading member %q: %w", name, err)
	}
	return value, nil
}

// Put sets a member to the JSON of a value, in its place if it exists, else at the end.
func (o *Object) Put[T any](name string, value T) error {
	raw, err := JSON[T]().Append(nil, value)
	if err != nil {
		return fmt.Errorf("setting member %q: %w", name, err)
	}
	return o.Set(name, raw)
}

// Set sets a member to a raw JSON value, which it copies and checks, in its place if it exists, else at the end.
func (o *Object) Set(name string, raw jsontext.Value) error {
	var value jsontext.Value
	if err := jsonv2.Unmarshal(raw, &value); err != nil {
		return fmt.Errorf("setting member %q: %w: %w", name, ErrMalformed, err)
	}
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return nil
	}
	o.members = append(o.members, member{name: name, value: value})
	return nil
}

// Rename gives a member another name, in its place. A member that is absent is left absent, so that optional members
// need no question; a name already taken is an [ErrMalformed], since a value would be lost.
func (o *Object) Rename(from, to string) error {
	i := o.index(from)
	if i < 0 || from == to {
		return nil
	}
	if o.index(to) >= 0 {
		return fmt.Errorf("renaming member %q: %w: there is a member %q already", from, ErrMalformed, to)
	}
	o.members[i].name = to
	return nil
}

// Delete removes a member and reports whether it was there.
func (o *Object) Delete(name string) bool {
	i := o.index(name)
	if i < 0 {
		return false
	}
	o.members = slices.Delete(o.members, i, i+1)
	return true
}

// Edit applies change to the object in a member and puts the result back. A member that is absent is left absent.
func (o *Object) Edit(name string, change func(*Object) error) error {
	i := o.index(name)
	if i < 0 {
		return nil
	}
	inner, err := ParseObject(o.members[i].value)
	if err != nil {
		return fmt.Errorf("editing member %q: %w", name, err)
	}
	if err := change(inner); err != nil {
		return fmt.Errorf("editing member %q: %w", name, err)
	}
	raw, err := inner.Append(nil)
	if err != nil {
		return fmt.Errorf("editing member %q: %w", name, err)
	}
	o.members[i].value = raw
	return nil
}

func (o *Object) index(name string) int {
	return slices.IndexFunc(o.members, func(m member) bool { return m.name == name })
}
