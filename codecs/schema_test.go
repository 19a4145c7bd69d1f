package codecs_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

// person is at version 3: version 1 had one name, version 2 a birthday as day, month, year.
type person struct {
	First string      `json:"first"`
	Last  string      `json:"last"`
	Born  string      `json:"born,omitzero"`
	Home  personHome  `json:"home,omitzero"`
	Pets  []personPet `json:"pets,omitempty"`
}

type personHome struct {
	City string `json:"city"`
}

type personPet struct {
	Name string `json:"name"`
}

type person2 struct {
	First string `json:"first"`
	Last  string `json:"last"`
	Born  []int  `json:"born,omitempty"`
}

func personSchema() codecs.Schema[person] {
	return codecs.Schema[person]{Types: []codecs.Type[person]{{
		Name: "person", Version: 3, Body: codecs.JSON[person](),
		Upcasters: []codecs.Upcaster{
			codecs.UpcastObject(1, func(o *codecs.Object) error {
				name, err := o.As[string]("name")
				if err != nil {
					return err
				}
				first, last, _ := strings.Cut(name, " ")
				o.Delete("name")
				return errors.Join(o.Put("first", first), o.Put("last", last))
			}),
			codecs.UpcastValue(2, codecs.JSON[person2](), codecs.JSON[person](), func(p person2) (person, error) {
				if len(p.Born) == 0 {
					return person{First: p.First, Last: p.Last}, nil
				}
				if len(p.Born) != 3 {
					return person{}, errors.New("a birthday has three numbers")
				}
				return person{First: p.First, Last: p.Last, Born: string(rune('0'+p.Born[0]%10)) + "…"}, nil
			}),
		},
	}}}
}

func personHeaders(t testing.TB, version int) []codecs.Header {
	t.Helper()
	headers, err := codecs.AppendHeaders(nil, "person", version)
	if err != nil {
		t.Fatal(err)
	}
	return headers
}

func TestVersionedConforms(t *testing.T) {
	values := []person{{}, {First: "Ada"}, {First: "Ada", Last: "Lovelace", Pets: []personPet{{"Puff"}}}}
	codec := codecs.Versioned(personSchema())
	codectest.Suite[person]{Codec: versionOnly[person]{codec}, Values: values}.Run(t)
	codectest.Suite[person]{
		Codec: codec.InBand(), Values: values,
		Malformed: [][]byte{
			nil, []byte(`{"first":"Ada"}`),
			{codecs.Magic},
			{codecs.Magic, 0},
			{codecs.Magic, 6, 'p'},
			[]byte("\xf7\x06person"),
			[]byte("\xf7\x06person\x00{}"), []byte("\xf7\x86\x00person\x03{}"), []byte("\xf7\x06person\x83\x00{}"), []byte("\xf7\x06person\x03"),
			[]byte("\xf7\x06person\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{}"), []byte("\xf7\xff\xff\xff\xff\x0fperson\x03{}"),
			[]byte("\xf7\x06person\x03{}{}"), []byte("\xf7\x06nobody\x03{}"), []byte("\xf7\x06person\x04{}"),
		},
	}.Run(t)
	if codecs.ForStore[person](codec) == codecs.Codec[person](codec) || codecs.ForStore(codecs.String()) != codecs.String() {
		t.Error("ForStore does not choose the in-band form where there is one")
	}
}

// versionOnly decodes bodies without headers as of the present version, as checks of the plain methods need it.
type versionOnly[T any] struct{ *codecs.VersionedCodec[T] }

func (c versionOnly[T]) Decode(data []byte) (T, error) {
	return c.DecodeWithHeaders([]codecs.Header{{Key: codecs.HeaderVersion, Value: []byte("3")}}, data)
}

func TestUpcasting(t *testing.T) {
	codec := codecs.Versioned(personSchema())
	for version, body := range []string{1: `{"name":"Ada Lovelace"}`, 2: `{"first":"Ada","last":"Lovelace"}`, 3: `{"first":"Ada","last":"Lovelace"}`} {
		if version == 0 {
			continue
		}
		got, err := codec.DecodeWithHeaders(personHeaders(t, version), []byte(body))
		if err != nil || got.First != "Ada" || got.Last != "Lovelace" {
			t.Errorf("version %d in headers: %+v, %v", version, got, err)
		}
		data, err := codecs.AppendEnvelope(nil, "person", version, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got, err = codec.InBand().Decode(data); err != nil || got.First != "Ada" || got.Last != "Lovelace" {
			t.Errorf("version %d in band: %+v, %v", version, got, err)
		}
	}
	if got, err := codec.Decode([]byte(`{"name":"Ada Lovelace"}`)); err != nil || got.Last != "Lovelace" {
		t.Errorf("no headers: %+v, %v, want version 1 of the only type", got, err)
	}
	for _, body := range []string{`{"first":"Ada"}`, `[]`, `{"name":1}`, ``} {
		if _, err := codec.Decode([]byte(body)); !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("%q as version 1: %v, want ErrMalformed", body, err)
		}
	}
	if _, err := codec.DecodeWithHeaders(personHeaders(t, 2), []byte(`{"born":[1]}`)); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("a body the upcaster refuses: %v, want ErrMalformed", err)
	}
}

func TestVersionsThatAreNotRead(t *testing.T) {
	schema := personSchema()
	schema.Types[0].Upcasters = schema.Types[0].Upcasters[1:]
	codec := codecs.Versioned(schema)
	if err := codecs.Check[person](codec); err != nil {
		t.Errorf("leaving out the oldest versions: %v", err)
	}
	if _, err := codec.Decode([]byte(`{}`)); !errors.Is(err, codecs.ErrMalformed) || !strings.Contains(err.Error(), "before 2") {
		t.Errorf("version 1: %v, want that it is no longer read", err)
	}
	newer := personHeaders(t, 4)
	body := []byte(`{"first":"Ada","title":"Countess"}`)
	if _, err := codec.DecodeWithHeaders(newer, body); !errors.Is(err, codecs.ErrNewerVersion) {
		t.Errorf("version 4: %v, want ErrNewerVersion", err)
	}
	schema.TolerateNewer = true
	if got, err := codecs.Versioned(schema).DecodeWithHeaders(newer, body); err != nil || got.First != "Ada" {
		t.Errorf("version 4, tolerated: %+v, %v", got, err)
	}
	if _, err := codecs.Versioned(schema).DecodeWithHeaders(personHeaders(t, 3), body); !errors.Is(err, codecs.ErrUnknownField) {
		t.Errorf("an unknown member in the present version: %v, want ErrUnknownField", err)
	}
}

func TestHeaders(t *testing.T) {
	codec := codecs.Versioned(personSchema())
	headers := codec.AppendHeaders([]codecs.Header{
		{Key: codecs.HeaderType, Value: []byte("old")},
		{Key: "trace", Value: nil},
		{Key: codecs.HeaderType, Value: []byte("older")},
		{Key: codecs.HeaderVersion, Value: []byte("1")},
	}, person{})
	name, version, err := codecs.FromHeaders(headers)
	if err != nil || name != "person" || version != 3 || len(headers) != 3 {
		t.Errorf("headers %q: %q, %d, %v", headers, name, version, err)
	}
	if name, version, err = codecs.FromHeaders(nil); err != nil || name != "" || version != 0 {
		t.Errorf("no headers: %q, %d, %v", name, version, err)
	}
	for _, text := range []string{"", "0", "01", "-1", "+1", "1.0", "2147483648", "99999999999999999999", " 1", "1\n", "x"} {
		header := []codecs.Header{{Key: codecs.HeaderVersion, Value: []byte(text)}}
		if _, _, err := codecs.FromHeaders(header); !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("version %q: %v, want ErrMalformed", text, err)
		}
		if _, err := codec.DecodeWithHeaders(header, []byte(`{}`)); !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("decoding with version %q: %v, want ErrMalformed", text, err)
		}
	}
	for _, text := range []string{"", "\xff", "a\x00", strings.Repeat("x", 256)} {
		header := []codecs.Header{{Key: codecs.HeaderType, Value: []byte(text)}}
		if _, _, err := codecs.FromHeaders(header); !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("type %q: %v, want ErrMalformed", text, err)
		}
		if _, err := codec.DecodeWithHeaders(header, []byte(`{}`)); !errors.Is(err, codecs.ErrUnknownType) {
			t.Errorf("decoding with type %q: %v, want ErrUnknownType", text, err)
		}
		if _, err := codecs.AppendHeaders(nil, text, 1); !errors.Is(err, codecs.ErrUnencodable) {
			t.Errorf("writing type %q: %v, want ErrUnencodable", text, err)
		}
		if _, err := codecs.AppendEnvelope(nil, text, 1, nil); !errors.Is(err, codecs.ErrUnencodable) {
			t.Errorf("an envelope of type %q: %v, want ErrUnencodable", text, err)
		}
	}
	if _, err := codecs.AppendHeaders(nil, "person", 0); !errors.Is(err, codecs.ErrUnencodable) {
		t.Errorf("version 0: %v, want ErrUnencodable", err)
	}
}

func TestBareBodiesInBand(t *testing.T) {
	schema := personSchema()
	bare := []byte(`{"name":"Ada Lovelace"}`)
	if _, err := codecs.Versioned(schema).InBand().Decode(bare); !errors.Is(err, codecs.ErrMalformed) {
		t.Errorf("a bare body: %v, want ErrMalformed", err)
	}
	schema.AcceptBare = true
	if got, err := codecs.Versioned(schema).InBand().Decode(bare); err != nil || got.Last != "Lovelace" {
		t.Errorf("a bare body, accepted: %+v, %v", got, err)
	}
}

// message is an interface with two message types behind it.
type message interface{ kind() string }

type created struct {
	ID string `json:"id"`
}

type deleted struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitzero"`
}

func (created) kind() string { return "created" }
func (deleted) kind() string { return "deleted" }

type stray struct{}

func (stray) kind() string { return "stray" }

func messageSchema() codecs.Schema[message] {
	return codecs.Schema[message]{
		Types: []codecs.Type[message]{
			{Name: "created", Version: 1, Body: codecs.Variant[message](codecs.JSON[created]())},
			{Name: "deleted", Version: 2, Body: codecs.Variant[message](codecs.JSON[deleted]()), Upcasters: []codecs.Upcaster{
				codecs.UpcastObject(1, func(o *codecs.Object) error { return o.Rename("why", "reason") }),
			}},
		},
		Default: "created",
		TypeOf:  message.kind,
	}
}

func TestSeveralTypes(t *testing.T) {
	codec := codecs.Versioned(messageSchema())
	codectest.Suite[message]{
		Codec: codec.InBand(), Values: []message{created{"1"}, deleted{"1", ""}, deleted{"1", "old"}},
		Unencodable: []message{stray{}, &created{"1"}},
	}.Run(t)
	if _, err := codec.Append(nil, stray{}); !errors.Is(err, codecs.ErrUnknownType) {
		t.Errorf("a value of no type: %v, want ErrUnknownType", err)
	}
	if headers := codec.AppendHeaders(nil, stray{}); headers != nil {
		t.Errorf("a value of no type has the headers %q", headers)
	}
	headers, err := codecs.AppendHeaders(nil, "deleted", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := codec.DecodeWithHeaders(headers, []byte(`{"id":"1","why":"old"}`)); err != nil || got != message(deleted{"1", "old"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := codec.Decode([]byte(`{"id":"1"}`)); err != nil || got != message(created{"1"}) {
		t.Errorf("without headers: %+v, %v", got, err)
	}
}

func TestFaultySchemasAreReportedWhole(t *testing.T) {
	nothing := func(b []byte) ([]byte, error) { return b, nil }
	schema := codecs.Schema[person]{
		Types: []codecs.Type[person]{
			{Name: "", Version: 0},
			{Name: "gap", Version: 5, Body: codecs.JSON[person](), Upcasters: []codecs.Upcaster{{From: 1, Apply: nothing}, {From: 1, Apply: nothing}, {From: 5, Apply: nothing}, {From: 3}}},
			{Name: "gap", Version: 1, Body: codecs.JSON[person]()},
			{Name: "other", Version: 1, Body: codecs.Variant[person](codecs.JSON[created]())},
		},
		Default: "absent",
	}
	codec := codecs.Versioned(schema)
	err := codec.Check()
	if !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Fatalf("Check gave %v", err)
	}
	for _, want := range []string{
		"type name is empty", "schema version 0", "two upcasters from version 1", "version 5 is not below", "from version 3 does nothing",
		"no upcaster from version 2", "given twice", "default \"absent\"", "needs TypeOf", "created is not a",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Check does not mention %q:\n%v", want, err)
		}
	}
	for what, err := range map[string]error{
		"Append":         func() error { _, err := codec.Append(nil, person{}); return err }(),
		"Decode":         func() error { _, err := codec.Decode([]byte("{}")); return err }(),
		"Append in band": func() error { _, err := codec.InBand().Append(nil, person{}); return err }(),
		"Decode in band": func() error { _, err := codec.InBand().Decode([]byte("{}")); return err }(),
		"enveloped":      func() error { _, err := codecs.Enveloped(schema).Decode([]byte("{}")); return err }(),
		"no types":       codecs.Check[int](codecs.Versioned(codecs.Schema[int]{})),
		"in band":        codecs.Check(codec.InBand()),
	} {
		if !errors.Is(err, codecs.ErrInvalidCodec) {
			t.Errorf("%s: %v, want ErrInvalidCodec", what, err)
		}
	}
}

func FuzzVersioned(f *testing.F) {
	for _, seed := range []string{
		"\xf7\x06person\x03{}", "\xf7\x06person\x01{\"name\":\"Ada L\"}", "\xf7\x06person\x02{\"first\":\"\",\"last\":\"\",\"born\":[1,2,3]}", "{\"name\":\"A\"}",
		"\xf7\x06person\x04{\"new\":1}", "\xf7\x07created\x01{\"id\":\"1\"}", "\xf7", "",
	} {
		f.Add([]byte(seed), "person", "2")
	}
	f.Fuzz(func(t *testing.T, data []byte, name, version string) {
		schema := personSchema()
		codectest.Stable(t, codecs.Versioned(schema).InBand(), data)
		schema.TolerateNewer, schema.AcceptBare = true, true
		codectest.Stable(t, codecs.Versioned(schema).InBand(), data)
		codectest.Stable(t, codecs.Versioned(messageSchema()).InBand(), data)

		headers := []codecs.Header{{Key: codecs.HeaderType, Value: []byte(name)}, {Key: codecs.HeaderVersion, Value: []byte(version)}}
		codec := codecs.Versioned(schema)
		value, err := codec.DecodeWithHeaders(headers, data)
		if err != nil {
			return
		}
		body := encode(t, codec, value)
		again, err := codec.DecodeWithHeaders(codec.AppendHeaders(headers, value), body)
		if err != nil || string(encode(t, codec, again)) != string(body) {
			t.Errorf("%q (%q %q) was read as %+v, and that as %+v, %v", data, name, version, value, again, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("\xf7\x06person\x03{}"))
	f.Add([]byte("\xf7\x01x\xff\xff\xff\xff\x07"))
	f.Add([]byte("\xf7\x81\x00x\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name, version, body, err := codecs.ParseEnvelope(data)
		if err != nil {
			return
		}
		if again, err := codecs.AppendEnvelope(nil, name, version, body); err != nil || string(again) != string(data) {
			t.Errorf("%q was taken apart and put together as %q, %v", data, again, err)
		}
	})
}

// The example of docs/format/envelope.md is what the code writes.
func TestEnvelopeIsDocumented(t *testing.T) {
	document, err := os.ReadFile("../docs/format/envelope.md")
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := codecs.AppendEnvelope(nil, "count", 300, []byte(`{"n":5}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("% x", envelope); !strings.Contains(string(document), "\n    "+want+"\n") {
		t.Errorf("the document does not have %s", want)
	}
}
