package codecs_test

import (
	jsonv2 "encoding/json/v2"
	"fmt"
	"strconv"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

// command has the shape of the calculator's command: the hot path of the reference system.
type command struct {
	ID        string      `json:"id"`
	Action    string      `json:"action"`
	Data      commandData `json:"data"`
	Timestamp int64       `json:"timestamp"`
}

type commandData struct {
	ValueID   string  `json:"value-id"`
	Value     float64 `json:"value"`
	Operation string  `json:"operation,omitzero"`
}

// fastCommand is the same message with methods of its own.
type fastCommand command

func (c *fastCommand) AppendJSON(dst []byte) ([]byte, error) {
	var err error
	if dst, err = codecs.AppendJSONString(append(dst, `{"id":`...), c.ID); err != nil {
		return dst, err
	}
	if dst, err = codecs.AppendJSONString(append(dst, `,"action":`...), c.Action); err != nil {
		return dst, err
	}
	if dst, err = codecs.AppendJSONString(append(dst, `,"data":{"value-id":`...), c.Data.ValueID); err != nil {
		return dst, err
	}
	if dst, err = codecs.AppendJSONFloat(append(dst, `,"value":`...), c.Data.Value); err != nil {
		return dst, err
	}
	if c.Data.Operation != "" {
		if dst, err = codecs.AppendJSONString(append(dst, `,"operation":`...), c.Data.Operation); err != nil {
			return dst, err
		}
	}
	return append(strconv.AppendInt(append(dst, `},"timestamp":`...), c.Timestamp, 10), '}'), nil
}

func (c *fastCommand) DecodeJSON(data []byte) error {
	r := codecs.NewJSONReader(data)
	r.BeginObject()
	for r.NextMember() {
		switch string(r.Name()) {
		case "id":
			c.ID = r.String()
		case "action":
			c.Action = r.OneOf("CreateValue", "UpdateValue")
		case "data":
			c.Data.read(&r)
		case "timestamp":
			c.Timestamp = r.Int64()
		default:
			r.Unknown()
		}
	}
	return r.End()
}

func (d *commandData) read(r *codecs.JSONReader) {
	r.BeginObject()
	for r.NextMember() {
		switch string(r.Name()) {
		case "value-id":
			d.ValueID = r.String()
		case "value":
			d.Value = r.Float64()
		case "operation":
			d.Operation = r.OneOf("ADD", "MULTIPLY")
		default:
			r.Unknown()
		}
	}
}

func sampleCommand(i int) command {
	return command{
		ID: fmt.Sprintf("b9a5c7de-7ad1-4f0a-a3d5-%012x", i), Action: "UpdateValue", Timestamp: 1700000000123 + int64(i),
		Data: commandData{ValueID: fmt.Sprintf("3e1bb2b0-52b5-4fd0-9d7c-%012x", i), Value: 3 + float64(i)/4, Operation: "MULTIPLY"},
	}
}

// samples are many, so that neither branch prediction nor json's cache of strings flatters the result.
func samples() []command {
	commands := make([]command, 1024)
	for i := range commands {
		commands[i] = sampleCommand(i)
	}
	return commands
}

func BenchmarkAppend(b *testing.B) {
	b.Run("json.Marshal", func(b *testing.B) { benchmarkMarshal(b, samples()) })
	b.Run("JSON", func(b *testing.B) { benchmarkAppend(b, codecs.JSON[command](), samples()) })
	b.Run("JSON with methods", func(b *testing.B) { benchmarkAppend(b, codecs.JSON[fastCommand](), fastSamples()) })
}

func BenchmarkDecode(b *testing.B) {
	b.Run("json.Unmarshal", func(b *testing.B) { benchmarkUnmarshal(b, samples()) })
	b.Run("JSON", func(b *testing.B) { benchmarkDecode(b, codecs.JSON[command](), samples()) })
	b.Run("JSON with methods", func(b *testing.B) { benchmarkDecode(b, codecs.JSON[fastCommand](), fastSamples()) })
}

func fastSamples() []fastCommand {
	var commands []fastCommand
	for _, c := range samples() {
		commands = append(commands, fastCommand(c))
	}
	return commands
}

func benchmarkMarshal(b *testing.B, values []command) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := jsonv2.Marshal(&values[i%len(values)]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkAppend[T any](b *testing.B, codec codecs.Codec[T], values []T) {
	buffer := make([]byte, 0, 512)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := codec.Append(buffer[:0], values[i%len(values)]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkUnmarshal(b *testing.B, values []command) {
	encoded := encodeAll(b, codecs.JSON[command](), values)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var value command
		if err := jsonv2.Unmarshal(encoded[i%len(encoded)], &value); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkDecode[T any](b *testing.B, codec codecs.Codec[T], values []T) {
	encoded := encodeAll(b, codec, values)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := codec.Decode(encoded[i%len(encoded)]); err != nil {
			b.Fatal(err)
		}
	}
}

func encodeAll[T any](b *testing.B, codec codecs.Codec[T], values []T) [][]byte {
	var encoded [][]byte
	for _, value := range values {
		data, err := codec.Append(nil, value)
		if err != nil {
			b.Fatal(err)
		}
		encoded = append(encoded, data)
	}
	return encoded
}
