package calculator

import (
	"encoding/json/v2"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

// The same types without methods: reflection is the oracle.
type (
	plainCommand Command
	plainEvent   Event
	plainValue   Value
)

func TestMethodsWriteWhatReflectionWrites(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	texts := []string{"", "ADD", "MULTIPLY", "CreateValue", "ü\"\\\n<&>\u2028", "3e1bb2b0-52b5-4fd0-9d7c-0f2b1c7b9a10"}
	text := func() string { return texts[r.IntN(len(texts))] }
	number := func() Number {
		if r.IntN(4) == 0 {
			return Number{}
		}
		return NumberOf((r.Float64() - 0.5) * float64(r.Int64N(1<<40)))
	}
	for range 2000 {
		c := Command{ID: text(), Action: text(), Data: Request{ValueID: text(), Operation: text(), Value: number()}, Timestamp: r.Int64()}
		same[Command, plainCommand](t, seed, c)
		e := Event{ID: text(), ParentID: text(), Action: text(), Data: Change{ValueID: text(), Operation: text(), Value: number(), Result: number()}, Timestamp: r.Int64()}
		same[Event, plainEvent](t, seed, e)
		same[Value, plainValue](t, seed, Value{Value: number()})
	}
}

// same holds that both forms write the same bytes, and read them alike.
func same[T, P any](t *testing.T, seed uint64, value T) {
	t.Helper()
	plain := reflect.ValueOf(value).Convert(reflect.TypeFor[P]()).Interface().(P)
	got, err := codecs.JSON[T]().Append(nil, value)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	want, err := json.Marshal(plain)
	if err != nil || string(got) != string(want) {
		t.Fatalf("seed %d: methods write %s, reflection %s (%v)", seed, got, want, err)
	}
	back, err := codecs.JSON[T]().Decode(want)
	if err != nil || !reflect.DeepEqual(back, value) {
		t.Fatalf("seed %d: read %+v of %s (%v)", seed, back, want, err)
	}
}

// FuzzCommandJSON holds that methods and reflection accept the same bytes and read the same from them.
func FuzzCommandJSON(f *testing.F) {
	for _, text := range []string{
		`{"id":"a","action":"UpdateValue","data":{"value-id":"b","operation":"ADD","value":1.5},"timestamp":7}`,
		`{"id":"a","data":{"value":null}}`, `{"id":null}`, `{}`, `null`, `{"x":1}`, `{"data":{"value":1e999}}`, `{"id":"a","id":"b"}`,
	} {
		f.Add([]byte(text))
	}
	methods, reflection := codecs.JSON[Command](), codecs.JSON[plainCommand]()
	f.Fuzz(func(t *testing.T, data []byte) {
		got, gotErr := methods.Decode(data)
		want, wantErr := reflection.Decode(data)
		if gotErr == nil && wantErr == nil && got != Command(want) {
			t.Fatalf("methods read %+v, reflection %+v", got, want)
		}
		if gotErr == nil && wantErr != nil {
			t.Fatalf("methods accept what reflection refuses: %v", wantErr)
		}
	})
}
