package codecs_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/codecs/codectest"
)

// newerPerson was written by a program of version 4.
const newerPerson = `{"title":"Countess","first":"Ada","last":"Lovelace","home":{"city":"London","street":"St James's Square 12","n":1.0},"pets":[{"name":"Puff","kind":"cat"}],"extra":{"a":[1,2]}}`

func tolerantSchema() codecs.Schema[person] {
	schema := personSchema()
	schema.TolerateNewer = true
	return schema
}

func TestEnvelopedKeepsWhatANewerWriterWrote(t *testing.T) {
	codec := codecs.Enveloped(tolerantSchema())
	envelope, err := codec.DecodeWithHeaders(personHeaders(t, 4), []byte(newerPerson))
	if err != nil {
		t.Fatal(err)
	}
	if envelope.Version != 4 || envelope.Type != "person" || !envelope.HasUnknown() || envelope.Value.Home.City != "London" {
		t.Errorf("read %+v", envelope)
	}
	if got := string(encode(t, codec, envelope)); got != newerPerson {
		t.Errorf("unchanged, it came back as\n%s, want\n%s", got, newerPerson)
	}
	if _, version, err := codecs.FromHeaders(codec.AppendHeaders(nil, envelope)); err != nil || version != 4 {
		t.Errorf("its version is now %d, %v", version, err)
	}
	inBand, err := codec.InBand().Decode(encode(t, codec.InBand(), envelope))
	if err != nil || inBand.Version != 4 || string(encode(t, codec, inBand)) != newerPerson {
		t.Errorf("in band it came back as %+v, %v", inBand, err)
	}

	envelope.Value.First = "Augusta"
	envelope.Value.Home.City = "Paris"
	want := `{"first":"Augusta","last":"Lovelace","home":{"city":"Paris","street":"St James's Square 12","n":1.0},"pets":[{"name":"Puff","kind":"cat"}],"title":"Countess","extra":{"a":[1,2]}}`
	if got := string(encode(t, codec, envelope)); got != want {
		t.Errorf("changed, it came back as\n%s, want\n%s", got, want)
	}
	envelope.Value.Home = personHome{}
	envelope.Value.Pets = append(envelope.Value.Pets, personPet{Name: "Rex"})
	want = `{"first":"Augusta","last":"Lovelace","pets":[{"name":"Puff"},{"name":"Rex"}],"title":"Countess","extra":{"a":[1,2]}}`
	if got := string(encode(t, codec, envelope)); got != want {
		t.Errorf("with a member removed and an array changed, it came back as\n%s, want\n%s", got, want)
	}
}

func TestEnvelopedOfKnownVersions(t *testing.T) {
	codec := codecs.Enveloped(personSchema())
	for version, body := range map[int]string{1: `{"name":"Ada Lovelace","x":[1]}`, 3: ` {"first":"Ada", "last":"Lovelace", "x":[1]}`} {
		envelope, err := codec.DecodeWithHeaders(personHeaders(t, version), []byte(body))
		if version == 1 {
			// The typed upcaster of version 2 is strict.
			if !errors.Is(err, codecs.ErrUnknownField) {
				t.Errorf("version 1: %v, want ErrUnknownField of the typed upcaster", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(encode(t, codec, envelope)), `{"first":"Ada","last":"Lovelace","x":[1]}`; got != want || envelope.Version != 3 {
			t.Errorf("version %d came back as %s, version %d, want %s", version, got, envelope.Version, want)
		}
	}
	plain, err := codec.Decode([]byte(`{"name":"Ada Lovelace"}`))
	if err != nil || plain.HasUnknown() || plain.Version != 3 {
		t.Errorf("version 1, all known: %+v, %v", plain, err)
	}
	if got, want := string(encode(t, codec.InBand(), codecs.Envelope[person]{})), "\xf7\x06person\x03"+`{"first":"","last":""}`; got != want {
		t.Errorf("a fresh envelope is %q, want %q", got, want)
	}
}

func TestEnvelopedRefuses(t *testing.T) {
	codec := codecs.Enveloped(personSchema())
	tolerant := codecs.Enveloped(tolerantSchema())
	if _, err := codec.DecodeWithHeaders(personHeaders(t, 4), []byte(newerPerson)); !errors.Is(err, codecs.ErrNewerVersion) {
		t.Errorf("a newer version: %v, want ErrNewerVersion", err)
	}
	for what, envelope := range map[string]codecs.Envelope[person]{
		"a type of no schema": {Type: "nobody"}, "a past version": {Version: 2}, "a version beyond": {Version: codecs.MaxVersion + 1},
		"a negative version": {Version: -1}, "no UTF-8": {Value: person{First: "\xff"}},
	} {
		for _, c := range []codecs.Codec[codecs.Envelope[person]]{tolerant, tolerant.InBand()} {
			if got, err := c.Append([]byte("before"), envelope); !errors.Is(err, codecs.ErrUnencodable) || string(got) != "before" {
				t.Errorf("%s: %q, %v, want ErrUnencodable", what, got, err)
			}
		}
	}
	if _, err := codec.Append(nil, codecs.Envelope[person]{Version: 4}); !errors.Is(err, codecs.ErrNewerVersion) {
		t.Errorf("writing a newer version that is not tolerated: %v, want ErrNewerVersion", err)
	}
	notJSON := codecs.Enveloped(codecs.Schema[string]{Types: []codecs.Type[string]{{Name: "text", Version: 1, Body: codecs.String()}}})
	if err := notJSON.Check(); !errors.Is(err, codecs.ErrInvalidCodec) {
		t.Errorf("bodies that are not JSON: %v, want ErrInvalidCodec", err)
	}
}

func TestEnvelopedSeveralTypes(t *testing.T) {
	codec := codecs.Enveloped(messageSchema())
	envelope, err := codec.DecodeWithHeaders([]codecs.Header{{Key: codecs.HeaderType, Value: []byte("deleted")}}, []byte(`{"id":"1","why":"old","by":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(encode(t, codec.InBand(), envelope)), "\xf7\x07deleted\x02"+`{"id":"1","reason":"old","by":"me"}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	envelope.Value = created{"2"}
	if _, err := codec.Append(nil, envelope); !errors.Is(err, codecs.ErrUnencodable) {
		t.Errorf("a value of another type than the envelope's: %v, want ErrUnencodable", err)
	}
}

func TestEnvelopedConforms(t *testing.T) {
	codec := codecs.Enveloped(tolerantSchema())
	read, err := codec.DecodeWithHeaders(personHeaders(t, 4), []byte(newerPerson))
	if err != nil {
		t.Fatal(err)
	}
	values := []codecs.Envelope[person]{{Type: "person", Version: 3, Value: person{First: "Ada"}}, read}
	codectest.Conform(t, codec.InBand(), values...)
}

// A message of many or deep members must not cost the square of its size.
func TestEnvelopedCostIsBounded(t *testing.T) {
	type tree struct {
		Next *tree  `json:"next,omitzero"`
		Name string `json:"name,omitzero"`
	}
	codec := codecs.Enveloped(codecs.Schema[tree]{Types: []codecs.Type[tree]{{Name: "tree", Version: 1, Body: codecs.JSON[tree]()}}})
	var wide strings.Builder
	wide.WriteString(`{"name":"x"`)
	for i := range 100_000 {
		wide.WriteString(`,"m` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strconv.Itoa(i) + `":1`)
	}
	wide.WriteString("}")
	deep := strings.Repeat(`{"name":"x","next":`, 5000) + `{"unknown":1}` + strings.Repeat("}", 5000)
	for what, body := range map[string]string{"wide": wide.String(), "deep": deep} {
		envelope, err := codec.Decode([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		envelope.Value.Name = "y"
		encoded := encode(t, codec, envelope)
		if len(encoded) < len(body)-20 || strings.Count(string(encoded), `"y"`) != 1 {
			t.Errorf("%s: %d bytes became %d", what, len(body), len(encoded))
		}
	}
}

func FuzzEnveloped(f *testing.F) {
	for _, seed := range []string{newerPerson, `{}`, `{"first":"a","first":"b"}`, `{"home":{"city":"","x":{}}}`, `{"pets":[{"name":"a","b":[]},{"c":1}]}`, `{"born":"","x":1}`} {
		f.Add([]byte(seed), "Augusta", "Paris")
	}
	f.Fuzz(func(t *testing.T, data []byte, first, city string) {
		codec := codecs.Enveloped(tolerantSchema())
		codectest.Stable(t, codec.InBand(), data)
		envelope, err := codec.DecodeWithHeaders(personHeaders(t, 4), data)
		if err != nil {
			return
		}
		before, err := codecs.ParseObject(encode(t, codec, envelope))
		if err != nil {
			t.Fatal(err)
		}
		envelope.Value.First, envelope.Value.Home.City = first, city
		encoded, err := codec.Append(nil, envelope)
		if err != nil {
			return // not UTF-8
		}
		after, err := codecs.ParseObject(encoded)
		if err != nil {
			t.Fatalf("%q changed is %q: %v", data, encoded, err)
		}
		for _, name := range before.Names() {
			if _, kept := after.Get(name); !kept && name != "home" {
				t.Errorf("%q changed is %q: %q is lost", data, encoded, name)
			}
		}
		if got, err := after.As[string]("first"); err != nil || got != first {
			t.Errorf("%q changed is %q: the change is lost", data, encoded)
		}
	})
}
