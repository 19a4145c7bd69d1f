package prefer_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands/internal/prefer"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]prefer.Preferences{
		"":                            {},
		"respond-async":               {RespondAsync: true},
		"Respond-Async; foo=bar":      {RespondAsync: true},
		"wait=10":                     {Wait: 10 * time.Second, HasWait: true},
		`wait = "3"`:                  {Wait: 3 * time.Second, HasWait: true},
		"respond-async, wait=0":       {RespondAsync: true, HasWait: true},
		"wait=1, wait=9":              {Wait: time.Second, HasWait: true},
		"wait=-1":                     {},
		"wait=0.25":                   {Wait: 250 * time.Millisecond, HasWait: true},
		"wait=1e3":                    {},
		"wait=inf":                    {},
		"wait=x, respond-async":       {RespondAsync: true},
		`x="a,respond-async", wait=2`: {Wait: 2 * time.Second, HasWait: true},
		`x="\"", wait=2`:              {Wait: 2 * time.Second, HasWait: true},
		"wait=99999999999999999999":   {},
	} {
		if got := prefer.Parse(http.Header{"Prefer": {text}}); got != want {
			t.Errorf("Parse(%q) = %+v, want %+v", text, got, want)
		}
	}
	two := http.Header{"Prefer": {"wait=4", "respond-async"}}
	if got := prefer.Parse(two); !got.RespondAsync || got.Wait != 4*time.Second {
		t.Errorf("two headers: %+v", got)
	}
	if got := prefer.Seconds(1500 * time.Millisecond); got != "1.5" {
		t.Errorf("Seconds = %s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`respond-async; a="b;c", wait=10`)
	f.Fuzz(func(t *testing.T, text string) {
		if p := prefer.Parse(http.Header{"Prefer": {text}}); p.Wait < 0 {
			t.Fatalf("Parse(%q) waits %s", text, p.Wait)
		}
	})
}
