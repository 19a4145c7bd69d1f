package calculator_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/codecs"
)

// The messages without their methods: encoding/json/v2 reads their tags.
type (
	plainCommand calculator.Command
	plainEvent   calculator.Event
	plainValue   calculator.Value
)

var messages = []string{
	`{"id":"7037a79d-7e6b-4969-9ea5-6d5c28605ac4","action":"CreateValue","data":{"value-id":"d35e95f5-2a7a-4c31-8d28-2eb92643a154","value":3.0},"timestamp":1613068185765}`,
	`{"id":"a","action":"UpdateValue","data":{"value-id":"b","operation":"MULTIPLY","value":-0.5},"timestamp":-1}`,
	`{"id":"e","parent-id":"a","action":"ValueUpdated","data":{"value-id":"b","operation":"ADD","value":1e300,"result":0.0},"timestamp":5}`,
	`{"value":9.0}`, `{"value":null}`, `{}`, `null`, `[]`, `{"id":null,"data":null,"action":null,"timestamp":null}`, `{"data":{"value":"3"}}`,
	`{"timestamp":1.5}`, `{"timestamp":1e3}`, `{"ID":"a"}`, `{"id":"a","id":"b"}`, `{"data":{"result":1}}`, `{"id":"\u00e9\ud83d\ude00"}`, `{"id":"\ud800"}`,
	`{"data":{"value":1e999}}`, `{"data":{"value":1e-999}}`, ` { "id" : "a" } `, `{"id":"a"} x`, `{"id":"a",}`, `{"timestamp":9223372036854775808}`,
}

// both decodes by hand and by reflection: both refuse, or both read the same and write the same.
func both[T, P any](t *testing.T, data []byte, plain func(T) P) {
	t.Helper()
	hand, reflected := codecs.JSON[T](), codecs.JSON[P]()
	got, err := hand.Decode(data)
	want, wantErr := reflected.Decode(data)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q as %T: by hand %v, by reflection %v", data, got, err, wantErr)
	}
	if err != nil {
		return
	}
	if !reflect.DeepEqual(plain(got), want) {
		t.Fatalf("%q: by hand %+v, by reflection %+v", data, got, want)
	}
	text, err := hand.Append(nil, got)
	wantText, wantErr := reflected.Append(nil, want)
	if err != nil || wantErr != nil || !bytes.Equal(text, wantText) {
		t.Fatalf("%+v: by hand %s (%v), by reflection %s (%v)", got, text, err, wantText, wantErr)
	}
}

func FuzzMessages(f *testing.F) {
	for _, message := range messages {
		f.Add([]byte(message))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		both(t, data, func(c calculator.Command) plainCommand { return plainCommand(c) })
		both(t, data, func(e calculator.Event) plainEvent { return plainEvent(e) })
		both(t, data, func(v calculator.Value) plainValue { return plainValue(v) })
	})
}

// Text that is not UTF-8 is not written, in any member.
func TestUnencodable(t *testing.T) {
	const bad = "\xff"
	for _, c := range []calculator.Command{{ID: bad}, {Action: bad}, {Data: calculator.Request{ValueID: bad}}, {Data: calculator.Request{Operation: bad}}} {
		if text, err := calculator.Commands.Value().Append(nil, c); err == nil {
			t.Errorf("%+v is written as %q", c, text)
		}
	}
	for _, e := range []calculator.Event{{ID: bad}, {ParentID: bad}, {Action: bad}, {Data: calculator.Change{ValueID: bad}}, {Data: calculator.Change{Operation: bad}}} {
		if text, err := calculator.Events.Value().Append(nil, e); err == nil {
			t.Errorf("%+v is written as %q", e, text)
		}
	}
}

func BenchmarkDecodeCommand(b *testing.B) {
	data := []byte(messages[0])
	b.Run("by hand", func(b *testing.B) { decodeAll(b, codecs.JSON[calculator.Command](), data) })
	b.Run("by reflection", func(b *testing.B) { decodeAll(b, codecs.JSON[plainCommand](), data) })
}

func decodeAll[T any](b *testing.B, codec codecs.Codec[T], data []byte) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeEvent(b *testing.B) {
	event, err := calculator.Events.Value().Decode([]byte(messages[2]))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by hand", func(b *testing.B) { encodeAll(b, codecs.JSON[calculator.Event](), event) })
	b.Run("by reflection", func(b *testing.B) { encodeAll(b, codecs.JSON[plainEvent](), plainEvent(event)) })
}

func encodeAll[T any](b *testing.B, codec codecs.Codec[T], value T) {
	b.ReportAllocs()
	buffer := make([]byte, 0, 1024)
	for b.Loop() {
		if _, err := codec.Append(buffer, value); err != nil {
			b.Fatal(err)
		}
	}
}
