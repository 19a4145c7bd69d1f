package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/tidemill/tidemill/internal/settings"
)

// FuzzSettings gives a file, a flag and an environment variable any text: it is refused as a whole, by ErrInvalid, or what is in
// effect, written down as YAML and read again, is the same.
func FuzzSettings(f *testing.F) {
	f.Add("calculator: {addr: \":1\", wait: 1s}\nbrokers: [a:1, b:2]\n", false, ":3", "6s")
	f.Add("data = \"x\"\n[processor]\nsession-timeout = \"6s\"\n", true, "localhost:0", "1h")
	f.Add("a: &a [*a]\n", false, "x", "soon")
	f.Add("brokers: {a: 1}\nlog: [1]\n", false, "", "-1s")
	f.Fuzz(func(t *testing.T, content string, toml bool, addr, wait string) {
		if strings.ContainsRune(wait, 0) {
			wait = "" // an environment cannot hold it
		}
		name := "a.yaml"
		if toml {
			name = "a.toml"
		}
		t.Setenv("TIDEMILL_CALCULATOR_WAIT", wait)
		first, err := read(t, name, content, "--calculator-addr", addr)
		if err != nil {
			if !errors.Is(err, settings.ErrInvalid) {
				t.Fatalf("%q: the error is %v", content, err)
			}
			return
		}
		if first.Kafka.SASL.Password != "" {
			return // it is not written down
		}
		again, err := read(t, "b.yaml", first.YAML())
		if err != nil || again.YAML() != first.YAML() {
			t.Fatalf("%s\nis read again as (%v)\n%s", first.YAML(), err, again.YAML())
		}
	})
}

// read is load without a fatal error where a flag is wrong.
func read(t *testing.T, name, content string, args ...string) (settings.Settings, error) {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.AddFileFlag(flags)
	settings.AddFlags(flags, settings.Default(), all...)
	if err := flags.Parse(append(args, "--config", path)); err != nil {
		t.Fatal(err)
	}
	return settings.Load(flags, settings.Default())
}
