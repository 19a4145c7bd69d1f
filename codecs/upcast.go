package codecs

import "fmt"

// Upcaster lifts a body from one schema version to the next. Upcasters are pure: the same body gives the same result
// whenever a log is read again.
type Upcaster struct {
	// From is the version the body has; it has From+1 afterwards.
	From int
	// Apply returns the body under the next version. It must neither change the body it is given nor keep it.
	Apply func(body []byte) ([]byte, error)
}

// UpcastObject returns an upcaster that changes the raw JSON object of a body. Members it does not touch, also ones
// no type here knows, stay as they are.
func UpcastObject(from int, change func(*Object) error) Upcaster {
	if change == nil {
		return Upcaster{From: from}
	}
	return Upcaster{From: from, Apply: func(body []byte) ([]byte, error) {
		object, err := ParseObject(body)
		if err != nil {
			return nil, err
		}
		if err := change(object); err != nil {
			return nil, err
		}
		return object.Append(make([]byte, 0, len(body)+64))
	}}
}

// UpcastValue returns an upcaster that decodes a body as the older type, converts it and encodes the newer: for
// bodies that are not JSON, or changes easier to say in types. Members the older type does not know are lost if its
// codec allows them; use [UpcastObject] to keep them.
func UpcastValue[Old, New any](from int, older Codec[Old], newer Codec[New], convert func(Old) (New, error)) Upcaster {
	if older == nil || newer == nil || convert == nil {
		return Upcaster{From: from}
	}
	return Upcaster{From: from, Apply: func(body []byte) ([]byte, error) {
		old, err := older.Decode(body)
		if err != nil {
			return nil, err
		}
		value, err := convert(old)
		if err != nil {
			return nil, err
		}
		return newer.Append(nil, value)
	}}
}

// upcast applies one upcaster after the other, from the version of the body to the present one.
func (t *resolvedType[T]) upcast(version int, body []byte) ([]byte, error) {
	for ; version < t.Version; version++ {
		apply := t.upcasters[version]
		if apply == nil {
			return nil, fmt.Errorf("upcasting %s from version %d: %w: versions before %d are no longer read",
				t.Name, version, ErrMalformed, t.oldest)
		}
		lifted, err := apply(body)
		if err != nil {
			return nil, classify(fmt.Sprintf("upcasting %s from version %d", t.Name, version), ErrMalformed, err)
		}
		body = lifted
	}
	return body, nil
}
