package codecs

import (
	"bytes"
	"encoding/json/jsontext"
)

// maxMergeDepth bounds how deep unknown members are looked for one by one: each level is parsed anew.
const maxMergeDepth = 64

// exceeds reports whether the JSON value whole has object members, at any depth, that known has not. Both are valid
// and compact. At the greatest depth any difference counts.
func exceeds(whole, known jsontext.Value, depth int) bool {
	if bytes.Equal(whole, known) {
		return false
	}
	if depth >= maxMergeDepth {
		return true
	}
	switch {
	case whole.Kind() == '{' && known.Kind() == '{':
		all, part, ok := objects(whole, known)
		if !ok {
			return false
		}
		knownMembers := part.byName()
		for _, m := range all.members {
			value, ok := knownMembers[m.name]
			if !ok || exceeds(m.value, value, depth+1) {
				return true
			}
		}
	case whole.Kind() == '[' && known.Kind() == '[':
		all, part := elements(whole), elements(known)
		for i := range min(len(all), len(part)) {
			if exceeds(all[i], part[i], depth+1) {
				return true
			}
		}
	}
	return false
}

// merge applies to whole the change that leads from known to present. What did not change stays as it is in whole; in
// an object that did, each member is treated so by itself, members only whole has stay, and members known has but
// present has not are gone.
func merge(present, known, whole jsontext.Value, depth int) (jsontext.Value, error) {
	if bytes.Equal(present, known) {
		return whole, nil
	}
	if depth >= maxMergeDepth || present.Kind() != '{' || known.Kind() != '{' || whole.Kind() != '{' {
		return present, nil
	}
	now, err := ParseObject(present)
	if err != nil {
		return nil, err
	}
	before, all, ok := objects(known, whole)
	if !ok {
		return present, nil
	}
	old, read := before.byName(), all.byName()
	for i, m := range now.members {
		if old[m.name] == nil || read[m.name] == nil {
			continue
		}
		if now.members[i].value, err = merge(m.value, old[m.name], read[m.name], depth+1); err != nil {
			return nil, err
		}
	}
	written := now.byName()
	for _, m := range all.members {
		if old[m.name] == nil && written[m.name] == nil {
			now.members = append(now.members, m)
		}
	}
	return now.Append(nil)
}

// objects parses two objects; false if one is none.
func objects(a, b jsontext.Value) (*Object, *Object, bool) {
	first, err := ParseObject(a)
	if err != nil {
		return nil, nil, false
	}
	second, err := ParseObject(b)
	if err != nil {
		return nil, nil, false
	}
	return first, second, true
}

// byName indexes the members of an object: searching a large one member by member would cost the square of its size.
func (o *Object) byName() map[string]jsontext.Value {
	index := make(map[string]jsontext.Value, len(o.members))
	for _, m := range o.members {
		index[m.name] = m.value
	}
	return index
}

// elements returns the raw elements of an array.
func elements(array jsontext.Value) []jsontext.Value {
	decoder := jsontext.NewDecoder(bytes.NewReader(array))
	if _, err := decoder.ReadToken(); err != nil {
		return nil
	}
	var values []jsontext.Value
	for decoder.PeekKind() != ']' {
		value, err := decoder.ReadValue()
		if err != nil {
			return values
		}
		values = append(values, value.Clone())
	}
	return values
}
