package codecs_test

import (
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

func TestReaderReadsEverything(t *testing.T) {
	r := codecs.NewJSONReader([]byte(` { "list" : [ 1 , -2 , 3e0 ] , "none" : null , "yes" : true , "no":false, "price":"1.50", "raw": {"a": [ ] }, "\u0065nd": [] } `))
	var got []string
	note := func(format string, arguments ...any) { got = append(got, fmt.Sprintf(format, arguments...)) }
	r.BeginObject()
	for r.NextMember() {
		switch string(r.Name()) {
		case "list":
			r.BeginArray()
			for r.NextElement() {
				note("%v", r.Float64())
			}
		case "none":
			note("%v", r.Null())
		case "yes", "no":
			note("%v %v", r.Null(), r.Bool())
		case "price":
			note("%v", r.Decimal())
		case "raw":
			note("%s", r.Value())
		case "end":
			r.Skip()
			note("end")
		}
	}
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(got, "; "), `1; -2; 3; true; false true; false false; 1.5; {"a": [ ] }; end`; got != want {
		t.Errorf("read %s, want %s", got, want)
	}
}

func TestReaderFindsDuplicatesAmongMany(t *testing.T) {
	object := func(n int, last string) []byte {
		text := `{"inner":{"a":{},"b":{}}`
		for i := range n {
			text += fmt.Sprintf(`,"member %d":{"inner":{"a":1}}`, i)
		}
		return []byte(text + last + "}")
	}
	read := func(data []byte) error {
		r := codecs.NewJSONReader(data)
		readAll(&r)
		return r.End()
	}
	for _, n := range []int{0, 10, 22, 23, 24, 25, 100} {
		if err := read(object(n, `,"a":1`)); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
		for _, last := range []string{`,"inner":1`, `,"z":1,"z":1`, fmt.Sprintf(`,"member %d":1`, n-1)} {
			if err := read(object(n, last)); n > 0 && !errors.Is(err, codecs.ErrMalformed) {
				t.Errorf("%d members and %s: %v, want ErrMalformed", n, last, err)
			}
		}
	}
	if err := read(object(5000, "")); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("5000 members: %v, want ErrMalformed", err)
	}
}

// readAll enters every object there is.
func readAll(r *codecs.JSONReader) {
	r.BeginObject()
	for r.NextMember() {
		if name := string(r.Name()); name == "inner" || strings.HasPrefix(name, "member") {
			readAll(r)
			continue
		}
		r.Skip()
	}
}

func TestReaderStopsAtTheFirstError(t *testing.T) {
	r := codecs.NewJSONReader([]byte(`{"a":[1,x],"b":2}`))
	r.BeginObject()
	turns := 0
	for r.NextMember() {
		r.BeginArray()
		for r.NextElement() {
			r.Int64()
			turns++
		}
	}
	first := r.Err()
	if !errors.Is(first, codecs.ErrMalformed) || turns != 2 {
		t.Errorf("%d turns, then %v", turns, first)
	}
	r.BeginObject()
	r.Unknown()
	r.Fail(errors.New("another"))
	if r.Bool() || r.Null() || r.String() != "" || r.Int64() != 0 || r.Float64() != 0 || !r.Decimal().IsZero() || r.Value() != nil || r.Kind() != 0 {
		t.Error("after an error a value is read")
	}
	if err := r.End(); !errors.Is(err, first) {
		t.Errorf("End reports %v, the first error was %v", err, first)
	}
	if strings.Contains(first.Error(), "%!") {
		t.Errorf("the message is broken: %v", first)
	}
}

// readAny reads any value into what encoding/json/v2 makes of it.
func readAny(r *codecs.JSONReader) any {
	switch r.Kind() {
	case '{':
		object := map[string]any{}
		for r.BeginObject(); r.NextMember(); {
			name := string(r.Name())
			object[name] = readAny(r)
		}
		return object
	case '[':
		array := []any{}
		for r.BeginArray(); r.NextElement(); {
			array = append(array, readAny(r))
		}
		return array
	case '"':
		return r.OneOf("a", "b")
	case '0':
		return r.Float64()
	case 'n':
		if !r.Null() {
			r.Skip()
		}
		return nil
	default:
		return r.Bool()
	}
}

// encoding/json/v2 is the oracle.
func FuzzJSONReader(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e3,true,false,null,"x\u00e9\ud83d\ude00"],"b":{"a":{}}}`, ` [ ] `, `{"a":1,"\u0061":2}`, `nul`, `[1,]`, `{"a":1,}`, `[1 2]`, `"\ud800"`, "\"\xff\"",
		`-`, `01`, `1e400`, `"a`, `"12345678\"`, `[[[[]]]]`, `{"":""}`, `truefalse`, `{"a"}`, `{"a":}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var want any
		wantErr := jsonv2.Unmarshal(data, &want)
		r := codecs.NewJSONReader(data)
		got := readAny(&r)
		err := r.End()
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %v, %v; by json as %v, %v", data, got, err, want, wantErr)
		}
		r = codecs.NewJSONReader(data)
		raw := r.Value()
		err = r.End()
		if valid := jsontext.Value(data).IsValid(); valid != (err == nil) {
			t.Errorf("%q has the raw value %q, %v; valid is %v", data, raw, err, valid)
		}
	})
}
