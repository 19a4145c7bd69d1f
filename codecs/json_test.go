package codecs_test

import (
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
	"github.com/tidemill/tidemill/internal/costtest"
)

// everything has a field of most kinds that JSON treats in its own way.
type everything struct {
	Text     string                `json:"text"`
	Number   float64               `json:"number"`
	Integer  int64                 `json:"integer"`
	Flag     bool                  `json:"flag"`
	Raw      jsontext.Value        `json:"raw,omitzero"`
	Map      map[string]int        `json:"map,omitempty"`
	List     []everything          `json:"list,omitempty"`
	Pointer  *string               `json:"pointer,omitzero"`
	Time     time.Time             `json:"time,omitzero"`
	Price    codecs.Decimal        `json:"price,omitzero"`
	Binary   []byte                `json:"binary,omitempty"`
	Anything any                   `json:"anything,omitzero"`
	Nested   struct{ Inner int32 } `json:"nested,omitzero"`
}

func TestJSONConforms(t *testing.T) {
	text := "pointed at"
	price, err := codecs.ParseDecimal("12.50")
	if err != nil {
		t.Fatal(err)
	}
	codectest.Suite[everything]{
		Codec: codecs.JSON[everything](),
		Values: []everything{
			{},
			{Text: "£ \" \\ \u2028 <&>", Number: 1e300, Integer: math.MinInt64, Flag: true},
			{Map: map[string]int{"b": 1, "a": 2, "c": 3}, List: []everything{{Text: "inner"}, {}}, Pointer: &text},
			{Time: time.UnixMilli(1700000000123).UTC(), Price: price, Binary: []byte{0, 255}},
			{Raw: jsontext.Value(`[1,{"a":null}]`), Anything: []any{1.5, "x", map[string]any{"b": nil, "a": true}}},
		},
		Malformed: [][]byte{
			nil, []byte(" "), []byte("null"), []byte("[]"), []byte(`{"text":"a"`), []byte(`{"text":"a",}`), []byte(`{"text":1}`),
			[]byte(`{"integer":1.5}`), []byte(`{"integer":9223372036854775808}`), []byte(`{"number":1e999}`),
			[]byte(`{"text":"` + "\xff" + `"}`), []byte(`{"text":"\ud800"}`), []byte(`{"Text":"other case"}`),
			[]byte("\xef\xbb\xbf{}"), []byte(`{"price":null}`), []byte(`{"price":1e101}`),
		},
		Unencodable: []everything{{Number: math.NaN()}, {Number: math.Inf(-1)}, {Text: "\xff"}, {Raw: jsontext.Value("{")}},
	}.Run(t)
	codectest.Conform(t, codecs.JSON[fastCommand](), fastCommand{}, fastCommand(sampleCommand(1)), fastCommand{ID: "ü\n"})
	codectest.Conform(t, codecs.JSON[*fastCommand](), &fastCommand{}, nil, &fastCommand{ID: "1"})
	codectest.Conform(t, codecs.JSON[*command](), &command{}, nil, &command{ID: "1"})
	codectest.Conform(t, codecs.JSON[map[string]int](), map[string]int{}, map[string]int{"z": 1, "a": 2})
	codectest.Conform[any](t, codecs.JSON[any](), nil, 1.5, "text", []any{true})
}

func TestJSONErrorsHaveTheirKind(t *testing.T) {
	kinds := []error{codecs.ErrMalformed, codecs.ErrTrailingData, codecs.ErrUnknownField}
	for input, want := range map[string]error{
		`{"id":"1"} x`:                codecs.ErrTrailingData,
		`{"id":"1"}{"id":"2"}`:        codecs.ErrTrailingData,
		`{"id":"1","new":1}`:          codecs.ErrUnknownField,
		`{"data":{"new":{"deep":1}}}`: codecs.ErrUnknownField,
		`{"id":"1","id":"2"}`:         codecs.ErrMalformed,
		`{"id":"1","\u0069d":"2"}`:    codecs.ErrMalformed,
		`{"id"`:                       codecs.ErrMalformed,
		``:                            codecs.ErrMalformed,
		`null`:                        codecs.ErrMalformed,
		`"text"`:                      codecs.ErrMalformed,
		`{"timestamp":"1"}`:           codecs.ErrMalformed,
		`{"timestamp":1.0}`:           codecs.ErrMalformed,
		`{"data":{"value":01}}`:       codecs.ErrMalformed,
		`{"data":{"value":+1}}`:       codecs.ErrMalformed,
		`{"data":{"value":1.}}`:       codecs.ErrMalformed,
		`{"data":{"value":NaN}}`:      codecs.ErrMalformed,
		`{"data":{"value":1e400}}`:    codecs.ErrMalformed,
		"{\"id\":\"\x01\"}":           codecs.ErrMalformed,
		`{"id":"\x"}`:                 codecs.ErrMalformed,
		`{"id":'1'}`:                  codecs.ErrMalformed,
		`{id:"1"}`:                    codecs.ErrMalformed,
		strings.Repeat(`[`, 1e5):      codecs.ErrMalformed,
	} {
		_, reflected := codecs.JSON[command]().Decode([]byte(input))
		_, fast := codecs.JSON[fastCommand]().Decode([]byte(input))
		for how, err := range map[string]error{"by reflection": reflected, "by methods": fast} {
			for _, kind := range kinds {
				if errors.Is(err, kind) != (kind == want) {
					t.Errorf("%.60s %s: error %q, want only %q", input, how, err, want)
				}
			}
		}
	}
}

func TestJSONDepthIsBounded(t *testing.T) {
	deep := []byte(strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6))
	if _, err := codecs.JSON[any]().Decode(deep); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("a million arrays in each other: %v, want ErrMalformed", err)
	}
	r := codecs.NewJSONReader(deep)
	r.Skip()
	if err := r.End(); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("the same, skipped: %v, want ErrMalformed", err)
	}
}

func TestJSONNamesTheMember(t *testing.T) {
	_, err := codecs.JSON[command]().Decode([]byte(`{"data":{"colour":1}}`))
	if err == nil || !strings.Contains(err.Error(), "colour") || !strings.Contains(err.Error(), "command") {
		t.Errorf("error %q names neither the member nor the type", err)
	}
}

func TestJSONDuplicateIsTold(t *testing.T) {
	if _, err := codecs.JSON[command]().Decode([]byte(`{"id":"1","id":"2"}`)); !errors.Is(err, jsontext.ErrDuplicateName) {
		t.Errorf("error %q does not wrap jsontext.ErrDuplicateName", err)
	}
}

func TestAllowUnknown(t *testing.T) {
	got, err := codecs.JSON[command](codecs.AllowUnknown()).Decode([]byte(`{"id":"1","new":{"a":[1]}}`))
	if err != nil || got.ID != "1" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := codecs.JSON[command](codecs.AllowUnknown()).Decode([]byte(`{"new":1,"new":2}`)); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("an unknown member given twice: %v, want ErrMalformed", err)
	}
}

// keeping has a field for what it does not know.
type keeping struct {
	ID   string         `json:"id"`
	Rest jsontext.Value `json:",embed"`
}

func TestEmbeddedFieldKeepsUnknown(t *testing.T) {
	input := `{"id":"1","new":{"a":[1.0]},"more":null}`
	for _, codec := range []codecs.Codec[keeping]{codecs.JSON[keeping](), codecs.JSON[keeping](codecs.AllowUnknown())} {
		value, err := codec.Decode([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(t, codec, value); string(got) != input {
			t.Errorf("%s came back as %s", input, got)
		}
	}
}

// failing has methods that fail, each in its own way.
type failing struct{ Reason string }

var errNoLuck = errors.New("no luck")

func (f *failing) AppendJSON(dst []byte) ([]byte, error) { return append(dst, "half"...), errNoLuck }

func (f *failing) DecodeJSON([]byte) error { return errNoLuck }

func TestErrorsOfMethods(t *testing.T) {
	codec := codecs.JSON[failing]()
	got, err := codec.Append([]byte("before"), failing{})
	if !errors.Is(err, codecs.ErrUnencodable) || !errors.Is(err, errNoLuck) || string(got) != "before" {
		t.Errorf("Append gave %q, %v", got, err)
	}
	if _, err := codec.Decode([]byte("{}")); !errors.Is(err, codecs.ErrMalformed) || !errors.Is(err, errNoLuck) {
		t.Errorf("Decode gave %v", err)
	}
}

// The methods of a type must say the same as its reflection.
func FuzzJSON(f *testing.F) {
	for i := range 3 {
		f.Add(encode(f, codecs.JSON[command](), sampleCommand(i)))
	}
	for _, seed := range []string{
		`{}`, `null`, `{"id":"1","id":"2"}`, `{"data":{"value":-1.5e-3},"timestamp":-9223372036854775808}`,
		`{"id":"\ud83d\ude00 \u00e9"} `, `{"unknown":[{"a":{}}]}`, `{"data":null}`, `{"timestamp":-0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		codectest.Stable(t, codecs.JSON[command](), data)
		codectest.Stable(t, codecs.JSON[command](codecs.AllowUnknown()), data)
		codectest.Stable(t, codecs.JSON[*fastCommand](), data)
		codectest.Stable(t, codecs.JSON[keeping](), data)
		codectest.Stable(t, codecs.JSON[everything](), data)
		codectest.Stable(t, codecs.JSON[any](), data)
		want, err := codecs.JSON[command]().Decode(data)
		got, fastErr := codecs.JSON[fastCommand]().Decode(data)
		if fastErr == nil && (err != nil || command(got) != want) {
			t.Errorf("%q: by methods %+v, by reflection %+v, %v", data, got, want, err)
		}
		if err == nil && fastErr != nil && !strings.Contains(string(data), "null") {
			t.Errorf("%q: by reflection %+v, by methods %v", data, want, fastErr)
		}
	})
}

func FuzzJSONAppend(f *testing.F) {
	f.Add("", 0.0, int64(0))
	f.Add("a\"\\\x00\u2028\x7f£", math.Copysign(0, -1), int64(-1))
	f.Add("\xff", 1e21, int64(1))
	f.Add("12345678\"", 1e-7, int64(1))
	f.Add("", 1.7976931348623157e308, int64(1))
	f.Fuzz(func(t *testing.T, text string, number float64, integer int64) {
		value := command{ID: text, Timestamp: integer, Data: commandData{Value: number}}
		want, wantErr := jsonv2.Marshal(&value)
		for how, append := range map[string]func() ([]byte, error){
			"by reflection": func() ([]byte, error) { return codecs.JSON[command]().Append(nil, value) },
			"by methods":    func() ([]byte, error) { return codecs.JSON[fastCommand]().Append(nil, fastCommand(value)) },
		} {
			got, err := append()
			if (err == nil) != (wantErr == nil) || err == nil && string(got) != string(want) {
				t.Errorf("%+v is encoded %s as %s, %v; json gives %s, %v", value, how, got, err, want, wantErr)
			}
		}
		if wantErr == nil {
			if back, err := codecs.JSON[fastCommand]().Decode(want); err != nil || command(back) != value {
				t.Errorf("%s is decoded as %+v, %v", want, back, err)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	reflected, fast := codecs.JSON[command](), codecs.JSON[fastCommand]()
	value := sampleCommand(1)
	buffer := make([]byte, 0, 512)
	data := encode(t, reflected, value)
	budget := func(what string, limit float64, do func() error) {
		t.Helper()
		if got := testing.AllocsPerRun(500, func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		}); got > limit && !costtest.Races {
			t.Errorf("%s allocates %v times, the budget is %v", what, got, limit)
		}
	}
	budget("encoding by reflection", 0, func() error { _, err := reflected.Append(buffer, value); return err })
	budget("encoding by methods", 0, func() error { _, err := fast.Append(buffer, fastCommand(value)); return err })
	// Two strings of the command are its own; reflection may need two more until json's cache knows the others.
	budget("decoding by reflection", 4, func() error { _, err := reflected.Decode(data); return err })
	budget("decoding by methods", 2, func() error { _, err := fast.Decode(data); return err })
}
