package token_test

import (
	"errors"
	"testing"

	"github.com/tidemill/tidemill/internal/token"
)

func TestRoundTrip(t *testing.T) {
	for _, want := range []token.Token{
		{Topic: "calculator-commands"},
		{Topic: "a:b", Partition: 3, Offset: 1 << 40},
	} {
		got, err := token.Parse(want.String())
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", want.String(), got, err, want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "!", "MQ", "Mjow", token.Token{Topic: "x", Partition: -1}.String(), token.Token{Topic: "x", Offset: -2}.String(), token.Token{Topic: "x", Offset: 1<<63 - 1}.String(), token.Token{}.String()} {
		if _, err := token.Parse(text); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("Parse(%q) error = %v, want ErrMalformed", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(token.Token{Topic: "calculator-commands", Partition: 1, Offset: 7}.String())
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := token.Parse(text)
		if err == nil && parsed.String() != text {
			t.Fatalf("Parse(%q) gave %+v, which prints as %q", text, parsed, parsed.String())
		}
	})
}
