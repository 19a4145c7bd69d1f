package codecs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"uuid"
)

// KeyParser is implemented by codecs whose keys have a text of several parts: "alice/cheap/1700000000000".
type KeyParser interface {
	// AppendKeyText appends to dst the encoding of the key with this text, or of the first parts of keys, the prefix of those
	// that begin so; whole says which. The empty text has no parts. The error wraps [ErrMalformed], and says which part is
	// wrong.
	AppendKeyText(dst []byte, text string) (encoded []byte, whole bool, err error)
}

// AppendKeyText implements [KeyParser]. The text of a row's key is those of its parts, the partition's first, with a slash
// between them. Within a part ~1 stands for a slash and ~0 for a tilde (as in RFC 6901). Parts are written as they are, whether
// ascending or descending: strings; integers in decimal; times as milliseconds since the epoch or as RFC 3339 has them;
// decimals and UUIDs as usual; byte slices as their bytes; converted parts as what they are converted to.
func (c RowCodec[P, S]) AppendKeyText(dst []byte, text string) (encoded []byte, whole bool, err error) {
	if c.partition == nil || c.sort == nil {
		return dst, false, c.Check()
	}
	if text == "" {
		return dst, false, nil
	}
	texts := strings.Split(text, "/")
	count := len(texts)
	for i, part := range texts {
		texts[i] = tildes.Replace(part)
	}
	encoded, rest, whole, err := c.partition.appendTexts(dst, texts, 0)
	if err == nil && whole {
		encoded, rest, whole, err = c.sort.appendTexts(encoded, rest, 0)
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: it has %d parts, and a key has %d", ErrMalformed, count, count-len(rest))
	}
	if err != nil {
		return dst, false, fmt.Errorf("reading the key %.80q: %w", text, err)
	}
	return encoded, whole, nil
}

var tildes = strings.NewReplacer("~0", "~", "~1", "/")

// appendFirst encodes the first text as a part that is one.
func appendFirst[T any](p part[T], dst []byte, texts []string, mask byte, parse func(string) (T, error)) ([]byte, []string, bool, error) {
	if len(texts) == 0 {
		return dst, nil, false, nil
	}
	value, err := parse(texts[0])
	if err != nil {
		return dst, texts, false, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	dst, err = p.append(dst, value, mask)
	return dst, texts[1:], err == nil, err
}

func (d descendingPart[T]) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	if d.of == nil {
		return dst, texts, false, d.check()
	}
	return d.of.appendTexts(dst, texts, ^mask)
}

func (c *convertPart[A, B]) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	if c.of == nil {
		return dst, texts, false, c.check()
	}
	return c.of.appendTexts(dst, texts, mask)
}

func (p pairPart[A, B, T]) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	if p.first == nil || p.second == nil {
		return dst, texts, false, p.check()
	}
	dst, texts, whole, err := p.first.appendTexts(dst, texts, mask)
	if err != nil || !whole {
		return dst, texts, false, err
	}
	return p.second.appendTexts(dst, texts, mask)
}

func (p int64Part) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, parseInt64)
}

func parseInt64(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no whole number of 64 bits", text)
	}
	return value, nil
}

func (p timePart) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, func(text string) (time.Time, error) {
		if milliseconds, err := parseInt64(text); err == nil {
			return time.UnixMilli(milliseconds), nil
		}
		value, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return value, fmt.Errorf("%.40q is neither milliseconds since the epoch nor a time as in RFC 3339", text)
		}
		return value, nil
	})
}

func (p uuidPart[T]) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, func(text string) (T, error) {
		value, err := uuid.Parse(text)
		return T(value), err
	})
}

func (p stringPart[T]) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, func(text string) (T, error) { return T(text), nil })
}

func (p bytesPart) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, func(text string) ([]byte, error) { return []byte(text), nil })
}

func (p decimalPart) appendTexts(dst []byte, texts []string, mask byte) ([]byte, []string, bool, error) {
	return appendFirst(p, dst, texts, mask, ParseDecimal)
}
