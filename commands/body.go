package commands

import (
	"bytes"
	"encoding/json"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// maxNumberLength and maxExponent bound numbers: a validator computes with them exactly, and 1e999999999 is ten bytes
// to send and a gigabyte to compute with.
const (
	maxNumberLength = 400
	maxExponent     = 400
)

// refusal is a request that is not let in.
type refusal struct {
	status  int
	detail  string
	members []member
}

// member is one offending member of a body.
type member struct {
	Detail  string `json:"detail"`
	Pointer string `json:"pointer"` // a URI fragment, as in RFC 9457's own example
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, detail: fmt.Sprintf(format, args...)}
}

// at names the offending member.
func (r *refusal) at(pointer jsontext.Pointer, detail string) *refusal {
	r.members = append(r.members, member{Detail: detail, Pointer: "#" + string(pointer)})
	return r
}

// readBody reads a JSON body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *refusal) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "the body must be sent with Content-Type: application/json")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return nil, refuse(http.StatusUnsupportedMediaType, "JSON is UTF-8; charset %s is not", strconv.Quote(charset))
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, refuse(http.StatusUnsupportedMediaType, "the body must be sent without a Content-Encoding")
	}
	tooLarge := func() *refusal {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge()
		}
		return nil, refuse(http.StatusBadRequest, "the body could not be read to its end")
	}
	if len(bytes.TrimSpace(buffer.Bytes())) == 0 {
		return nil, refuse(http.StatusBadRequest, "the body is empty; a JSON value is wanted")
	}
	return buffer.Bytes(), nil
}

// readNoBody refuses a body where a route takes none.
func readNoBody(r *http.Request) *refusal {
	var one [1]byte
	if n, _ := io.ReadFull(r.Body, one[:]); n > 0 {
		return refuse(http.StatusBadRequest, "this takes no body")
	}
	return nil
}

// parseBody reads exactly one JSON value, strictly (RFC 7493's rules: UTF-8, no name twice), into what a validator of
// schemas takes: map[string]any, []any, string, json.Number, bool, nil.
func parseBody(body []byte, maxDepth int) (any, *refusal) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	value, bad := parseValue(decoder, maxDepth)
	if bad != nil {
		return nil, bad
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, refuse(http.StatusBadRequest, "the body goes on after the JSON value, at byte %d", decoder.InputOffset())
	}
	return value, nil
}

func parseValue(decoder *jsontext.Decoder, maxDepth int) (any, *refusal) {
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, syntaxRefusal(decoder, err)
	}
	switch token.Kind() {
	case jsontext.KindBeginObject:
		return parseObject(decoder, maxDepth)
	case jsontext.KindBeginArray:
		return parseArray(decoder, maxDepth)
	case jsontext.KindNumber:
		return parseNumber(decoder, token.String())
	case jsontext.KindString:
		return token.String(), nil
	case jsontext.KindNull:
		return nil, nil
	}
	return token.Bool(), nil
}

func parseObject(decoder *jsontext.Decoder, maxDepth int) (any, *refusal) {
	if bad := checkDepth(decoder, maxDepth); bad != nil {
		return nil, bad
	}
	object := map[string]any{}
	for decoder.PeekKind() != jsontext.KindEndObject {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, syntaxRefusal(decoder, err)
		}
		key := name.String() // before the token's memory is used again
		value, bad := parseValue(decoder, maxDepth)
		if bad != nil {
			return nil, bad
		}
		object[key] = value
	}
	_, err := decoder.ReadToken()
	if err != nil {
		return nil, syntaxRefusal(decoder, err)
	}
	return object, nil
}

func parseArray(decoder *jsontext.Decoder, maxDepth int) (any, *refusal) {
	if bad := checkDepth(decoder, maxDepth); bad != nil {
		return nil, bad
	}
	array := []any{}
	for decoder.PeekKind() != jsontext.KindEndArray {
		value, bad := parseValue(decoder, maxDepth)
		if bad != nil {
			return nil, bad
		}
		array = append(array, value)
	}
	_, err := decoder.ReadToken()
	if err != nil {
		return nil, syntaxRefusal(decoder, err)
	}
	return array, nil
}

func checkDepth(decoder *jsontext.Decoder, maxDepth int) *refusal {
	if decoder.StackDepth() <= maxDepth {
		return nil
	}
	detail := fmt.Sprintf("arrays and objects are nested more than %d deep", maxDepth)
	return refuse(http.StatusBadRequest, "the body cannot be taken: %s", detail)
}

func parseNumber(decoder *jsontext.Decoder, text string) (any, *refusal) {
	detail := ""
	if len(text) > maxNumberLength {
		detail = fmt.Sprintf("a number of %d characters is too long", len(text))
	} else if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(text[at+1:])
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			detail = "the number's exponent is out of range"
		}
	}
	if detail != "" {
		return nil, refuse(http.StatusUnprocessableEntity, "a member is invalid: %s", detail).at(decoder.StackPointer(), detail)
	}
	return json.Number(text), nil
}

// syntaxRefusal says where the JSON breaks.
func syntaxRefusal(decoder *jsontext.Decoder, err error) *refusal {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(http.StatusBadRequest, "the JSON ends too early").at(decoder.StackPointer(), "unexpected end")
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		detail := "malformed JSON"
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			detail = "the JSON ends too early"
		case errors.Is(err, jsontext.ErrDuplicateName):
			detail = "a name is given twice"
		case syntax.Err != nil:
			detail = "malformed JSON: " + syntax.Err.Error()
		}
		return refuse(http.StatusBadRequest, "%s, at byte %d", detail, syntax.ByteOffset).at(syntax.JSONPointer, detail)
	}
	return refuse(http.StatusBadRequest, "malformed JSON").at(decoder.StackPointer(), "malformed")
}
