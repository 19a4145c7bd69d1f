package calculator

import (
	"strconv"

	"github.com/tidemill/tidemill/codecs"
)

// The messages read and write their own JSON: what the struct tags say, several times as fast as reflection. A test holds
// the two to be the same.

// AppendJSON implements codecs.JSONAppender.
func (c Command) AppendJSON(dst []byte) ([]byte, error) {
	dst, err := appendText(dst, `{"id":`, c.ID)
	if err == nil {
		dst, err = appendText(dst, `,"action":`, c.Action)
	}
	if err == nil {
		dst, err = appendData(dst, c.Data.ValueID, c.Data.Operation, c.Data.Value)
	}
	return appendEnd(dst, c.Timestamp), err
}

// AppendJSON implements codecs.JSONAppender.
func (e Event) AppendJSON(dst []byte) ([]byte, error) {
	dst, err := appendText(dst, `{"id":`, e.ID)
	if err == nil {
		dst, err = appendText(dst, `,"parent-id":`, e.ParentID)
	}
	if err == nil {
		dst, err = appendText(dst, `,"action":`, e.Action)
	}
	if err == nil {
		dst, err = appendData(dst, e.Data.ValueID, e.Data.Operation, e.Data.Value)
	}
	if !e.Data.Result.IsZero() {
		dst = e.Data.Result.append(append(dst, `,"result":`...))
	}
	return appendEnd(dst, e.Timestamp), err
}

// AppendJSON implements codecs.JSONAppender.
func (v Value) AppendJSON(dst []byte) ([]byte, error) {
	return append(v.Value.append(append(dst, `{"value":`...)), '}'), nil
}

func appendText(dst []byte, before, text string) ([]byte, error) {
	return codecs.AppendJSONString(append(dst, before...), text)
}

// appendData appends the data of a command or event, without its closing brace.
func appendData(dst []byte, id, operation string, value Number) ([]byte, error) {
	dst, err := appendText(dst, `,"data":{"value-id":`, id)
	if err == nil && operation != "" {
		dst, err = appendText(dst, `,"operation":`, operation)
	}
	return value.append(append(dst, `,"value":`...)), err
}

// appendEnd closes the data and appends the timestamp.
func appendEnd(dst []byte, timestamp int64) []byte {
	dst = strconv.AppendInt(append(dst, `},"timestamp":`...), timestamp, 10)
	return append(dst, '}')
}

// DecodeJSON implements codecs.JSONDecoder.
func (c *Command) DecodeJSON(data []byte) error {
	r := codecs.NewJSONReader(data)
	r.BeginObject()
	for r.NextMember() {
		switch null := r.Null(); string(r.Name()) {
		case "id":
			readText(&r, null, &c.ID)
		case "action":
			readText(&r, null, &c.Action, "CreateValue", "UpdateValue")
		case "data":
			if !null {
				readData(&r, &c.Data.ValueID, &c.Data.Operation, &c.Data.Value, nil)
			}
		case "timestamp":
			readInteger(&r, null, &c.Timestamp)
		default:
			r.Unknown()
		}
	}
	return r.End()
}

// DecodeJSON implements codecs.JSONDecoder.
func (e *Event) DecodeJSON(data []byte) error {
	r := codecs.NewJSONReader(data)
	r.BeginObject()
	for r.NextMember() {
		switch null := r.Null(); string(r.Name()) {
		case "id":
			readText(&r, null, &e.ID)
		case "parent-id":
			readText(&r, null, &e.ParentID)
		case "action":
			readText(&r, null, &e.Action, "ValueCreated", "ValueUpdated")
		case "data":
			if !null {
				readData(&r, &e.Data.ValueID, &e.Data.Operation, &e.Data.Value, &e.Data.Result)
			}
		case "timestamp":
			readInteger(&r, null, &e.Timestamp)
		default:
			r.Unknown()
		}
	}
	return r.End()
}

// DecodeJSON implements codecs.JSONDecoder.
func (v *Value) DecodeJSON(data []byte) error {
	r := codecs.NewJSONReader(data)
	r.BeginObject()
	for r.NextMember() {
		if null := r.Null(); string(r.Name()) == "value" {
			readNumber(&r, null, &v.Value)
		} else {
			r.Unknown()
		}
	}
	return r.End()
}

// readData reads the data of a command, or of an event, which may have a result.
func readData(r *codecs.JSONReader, id, operation *string, value, result *Number) {
	r.BeginObject()
	for r.NextMember() {
		switch null := r.Null(); string(r.Name()) {
		case "value-id":
			readText(r, null, id)
		case "operation":
			readText(r, null, operation, "ADD", "MULTIPLY")
		case "value":
			readNumber(r, null, value)
		case "result":
			if result == nil {
				r.Unknown()
				continue
			}
			readNumber(r, null, result)
		default:
			r.Unknown()
		}
	}
}

func readText(r *codecs.JSONReader, null bool, text *string, known ...string) {
	if !null {
		*text = r.OneOf(known...)
	}
}

func readInteger(r *codecs.JSONReader, null bool, number *int64) {
	if !null {
		*number = r.Int64()
	}
}

func readNumber(r *codecs.JSONReader, null bool, number *Number) {
	if !null {
		*number = NumberOf(r.Float64())
	}
}
