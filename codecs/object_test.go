package codecs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
)

func TestObject(t *testing.T) {
	object, err := codecs.ParseObject([]byte(` {"a": 1.0, "b\u0021": {"c": [1, 2]}, "d": null} `))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := object.Names(), []string{"a", "b!", "d"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	number, err := object.As[int]("a")
	if err == nil {
		t.Errorf("1.0 was read as the integer %d", number)
	}
	float, err := object.As[float64]("a")
	if err != nil || float != 1 {
		t.Errorf("got %v, %v, want 1", float, err)
	}
	for _, err := range []error{
		object.Put("e", "£\n"), object.Put("d", []int{1}), object.Rename("a", "z"), object.Rename("absent", "y"), object.Rename("z", "z"),
		object.Set("raw", []byte(` {"x" : 2}`)),
		object.Edit("b!", func(inner *codecs.Object) error { return inner.Put("n", 5) }),
		object.Edit("absent", func(*codecs.Object) error { return errors.New("not to be called") }),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if object.Delete("absent") || !object.Delete("e") {
		t.Error("Delete does not tell what was there")
	}
	got, err := object.Append([]byte("object: "))
	if err != nil {
		t.Fatal(err)
	}
	if want := `object: {"z":1.0,"b!":{"c":[1, 2],"n":5},"d":[1],"raw":{"x" : 2}}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestObjectRefuses(t *testing.T) {
	for input, want := range map[string]error{
		``: codecs.ErrMalformed, `[]`: codecs.ErrMalformed, `{"a":1`: codecs.ErrMalformed, `{"a":1,"a":2}`: codecs.ErrMalformed,
		`{"a":{"b":1,"b":1}}`: codecs.ErrMalformed, `{"a"}`: codecs.ErrMalformed, `{} {}`: codecs.ErrTrailingData, `{}x`: codecs.ErrTrailingData,
		"{\"\xff\":1}": codecs.ErrMalformed,
	} {
		if _, err := codecs.ParseObject([]byte(input)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", input, err, want)
		}
	}
	object, err := codecs.ParseObject([]byte(`{"a":1,"b":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a name taken":      object.Rename("a", "b"),
		"no JSON":           object.Set("a", []byte("{")),
		"no object":         object.Edit("a", func(*codecs.Object) error { return nil }),
		"an absent member":  func() error { _, err := object.As[int]("c"); return err }(),
		"a member's type":   func() error { _, err := object.As[int]("b"); return err }(),
		"duplicates inside": object.Set("a", []byte(`{"x":1,"x":1}`)),
	} {
		if !errors.Is(err, codecs.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", what, err)
		}
	}
	if err := object.Put("c", "\xff"); !errors.Is(err, codecs.ErrUnencodable) {
		t.Errorf("a string that is not UTF-8: %v, want ErrUnencodable", err)
	}
	if err := object.Put("\xff", 1); err != nil {
		t.Error(err)
	}
	if _, err := object.Append(nil); !errors.Is(err, codecs.ErrUnencodable) {
		t.Errorf("a name that is not UTF-8: %v, want ErrUnencodable", err)
	}
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":{"b":[1,2]},"c":1e5}`, `{"a":1,"a":2}`, `{"\ud83d\ude00":""}`, `[1]`, `{"a":1} `} {
		f.Add([]byte(seed), "a")
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		object, err := codecs.ParseObject(data)
		if err != nil {
			return
		}
		encoded, err := object.Append(nil)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		again, err := codecs.ParseObject(encoded)
		if err != nil || !slices.Equal(again.Names(), object.Names()) {
			t.Fatalf("%q was written as %q: %v", data, encoded, err)
		}
		_, had := object.Get(name)
		if object.Delete(name) != had {
			t.Errorf("Get and Delete of %q disagree", name)
		}
		if err := object.Rename(name, strings.ToUpper(name)); err != nil {
			t.Errorf("renaming what was deleted: %v", err)
		}
	})
}
