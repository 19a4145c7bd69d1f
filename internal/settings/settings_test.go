package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/tidemill/tidemill/internal/settings"
)

// all are all groups of flags.
var all = []settings.Group{
	settings.GroupData, settings.GroupKafka, settings.GroupBroker, settings.GroupTopics, settings.GroupProcessor, settings.GroupCalculator,
	settings.GroupRemote, settings.GroupAuth, settings.GroupAdmin, settings.GroupLog,
}

// load reads settings of a command line, with a file of the given name and content if that is not empty.
func load(t *testing.T, name, content string, args ...string) (settings.Settings, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.AddFileFlag(flags)
	settings.AddFlags(flags, settings.Default(), all...)
	if content != "" {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return settings.Load(flags, settings.Default())
}

func TestPrecedence(t *testing.T) {
	const file = "calculator: {addr: \":1\", wait: 1s}\nadmin: {addr: \":1\", pprof: true}\ndata: file\nbrokers: [a:1, b:2]\ntls: {enabled: true, ca-file: ca.pem}\n"
	t.Setenv("TIDEMILL_ADMIN_ADDR", ":2")
	t.Setenv("TIDEMILL_CALCULATOR_ADDR", ":2")
	t.Setenv("TIDEMILL_SASL_MECHANISM", "PLAIN")
	t.Setenv("TIDEMILL_SASL_USER", "ann")
	t.Setenv("TIDEMILL_SASL_PASSWORD", "secret")
	s, err := load(t, "a.yaml", file, "--calculator-addr", ":3", "--topics-partitions", "7", "--processor-cache-mb", "64")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"a flag before the environment", s.Calculator.Addr, ":3"},
		{"the environment before the file", s.Admin.Addr, ":2"},
		{"the file before the default", s.Calculator.Wait, time.Second},
		{"a list", strings.Join(s.Kafka.Brokers, " "), "a:1 b:2"},
		{"a boolean", s.Admin.Pprof, true},
		{"a flag that is not the key", s.Kafka.TLS.Enabled, true},
		{"a number", s.Topics.Partitions, int32(7)},
		{"a number of megabytes", s.ProcessorConfig().CacheBytes, 64 << 20},
		{"a secret", s.Kafka.SASL.Password, "secret"},
		{"a default", s.Processor.SessionTimeout, 10 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestFiles(t *testing.T) {
	toml, err := load(t, "a.toml", "data = \"x\"\nbrokers = [\"a:1\"]\n[processor]\nsession-timeout = \"6s\"\n")
	if err != nil || toml.Data != "x" || toml.Processor.SessionTimeout != 6*time.Second || toml.Kafka.Brokers[0] != "a:1" {
		t.Errorf("TOML: %+v, %v", toml, err)
	}
	path := filepath.Join(t.TempDir(), "named.yml")
	if err := os.WriteFile(path, []byte("data: y\nbrokers: one:1,two:2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIDEMILL_TLS", "true") // as the flag is called
	if encrypted, err := load(t, "", ""); err != nil || !encrypted.Kafka.TLS.Enabled {
		t.Errorf("TIDEMILL_TLS=true: %v, %v", encrypted.Kafka.TLS, err)
	}
	t.Setenv("TIDEMILL_CONFIG", path)
	if named, err := load(t, "", ""); err != nil || named.Data != "y" || len(named.Kafka.Brokers) != 2 {
		t.Errorf("named by the environment: %+v, %v", named, err)
	}
}

// Everything that is wrong is told at once, by name.
func TestProblemsAreToldTogether(t *testing.T) {
	t.Setenv("TIDEMILL_PROCESSOR_COMMIT_INTERVAL", "soon")
	t.Setenv("TIDEMILL_SASL_PASSWORD", "hunter2")
	_, err := load(t, "a.yaml", "calculater: {addr: x}\nlog: {level: loud, formt: json}\ntopics: {partitions: many}\nadmin_addr: \":1\"\n",
		"--brokers", "nohost", "--processor-guarantee", "maybe", "--calculator-addr", "x", "--calculator-view-url", "view:3032", "--auth-issuer", "me",
		"--dial-timeout", "never", "--log-commands=perhaps", "--processor-cache-mb", "0")
	if !errors.Is(err, settings.ErrInvalid) {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{
		"calculater.addr", `"log.formt"`, `did you mean "admin.addr"`, "log.level", "topics.partitions", "a whole number", "TIDEMILL_PROCESSOR_COMMIT_INTERVAL",
		"a duration", `"nohost"`, "guarantee", "calculator.addr", "calculator.view-url", "auth.key-file", "sasl",
		"(--dial-timeout)", "log.commands (--log-commands)", "true or false", "processor.cache-mb", `did you mean "calculator.addr"`, `did you mean "log.format"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error says nothing of %s:\n%v", want, err)
		}
	}
	if _, err := load(t, "a.yaml", "calculator: {wait: soon}\n"); err == nil || strings.Count(err.Error(), "calculator.wait") != 1 ||
		!strings.Contains(err.Error(), "a.yaml") || strings.Contains(err.Error(), "TIDEMILL_CALCULATOR_WAIT") {
		t.Errorf("a value that is no duration is not told once, of its file: %v", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error tells a password:\n%v", err)
	}
	for name, content := range map[string]string{"a.yaml": "data: [", "a.json": "{}", "a.toml": "data = "} {
		if _, err := load(t, name, content); !errors.Is(err, settings.ErrInvalid) {
			t.Errorf("%s with %q: %v", name, content, err)
		}
	}
	if _, err := load(t, "", "", "--config", filepath.Join(t.TempDir(), "missing.yaml")); !errors.Is(err, settings.ErrInvalid) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What `tidemill config` prints is a file that gives the same settings again, without secrets.
func TestYAMLRoundTrip(t *testing.T) {
	changed := []string{"--data", `we"ird`, "--brokers", "a:1,b:2", "--brokers", "c:3", "--processor-session-timeout", "20s", "--log-commands=false", "--topics-replication", "3", "--pprof"}
	first, err := load(t, "", "", changed...)
	if err != nil {
		t.Fatal(err)
	}
	second, err := load(t, "again.yaml", first.YAML())
	if err != nil {
		t.Fatalf("%v\n%s", err, first.YAML())
	}
	if got, want := second.YAML(), first.YAML(); got != want {
		t.Errorf("read again it is\n%s, not\n%s", got, want)
	}
	first.Kafka.SASL.Password = "hunter2"
	if _, err := load(t, "masked.yaml", first.YAML()); err == nil || !strings.Contains(err.Error(), "sasl.password") {
		t.Errorf("the mask is taken for a password: %v", err)
	}
	if text := first.YAML(); strings.Contains(text, "hunter2") || !strings.Contains(text, "********") {
		t.Errorf("the password is not masked:\n%s", text)
	}
}

func TestGiven(t *testing.T) {
	flags := func(args ...string) *pflag.FlagSet {
		set := pflag.NewFlagSet("test", pflag.ContinueOnError)
		settings.AddFileFlag(set)
		settings.AddFlags(set, settings.Default(), settings.GroupKafka)
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
		return set
	}
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte("brokers: [a:1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want bool
	}{{nil, false}, {[]string{"--client-id", "x"}, false}, {[]string{"--brokers", "127.0.0.1:9092"}, true}, {[]string{"--config", path}, true}} {
		if given, err := settings.Given(flags(c.args...), "brokers"); err != nil || given != c.want {
			t.Errorf("brokers by %v are given: %v, %v; want %v", c.args, given, err, c.want)
		}
	}
	t.Setenv("TIDEMILL_BROKERS", "a:1")
	if given, err := settings.Given(flags(), "brokers"); err != nil || !given {
		t.Errorf("brokers by the environment are given: %v, %v", given, err)
	}
}

func TestAuthorizer(t *testing.T) {
	if authorizer, err := (settings.Auth{}).Authorizer(); authorizer != nil || err != nil {
		t.Errorf("without a key: %v, %v", authorizer, err)
	}
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if authorizer, err := (settings.Auth{KeyFile: write(strings.Repeat("s", 32) + "\n")}).Authorizer(); authorizer == nil || err != nil {
		t.Errorf("with a secret: %v, %v", authorizer, err)
	}
	for _, content := range []string{"short", "{}", "-----BEGIN NONSENSE-----"} {
		if _, err := (settings.Auth{KeyFile: write(content)}).Authorizer(); !errors.Is(err, settings.ErrInvalid) {
			t.Errorf("with %q: %v", content, err)
		}
	}
	if _, err := (settings.Auth{KeyFile: filepath.Join(t.TempDir(), "none")}).Authorizer(); !errors.Is(err, settings.ErrInvalid) {
		t.Errorf("with a file that is not there: %v", err)
	}
}

// A variable that begins as ours do and is none of them is refused, with the one that it may have been meant to be. Others' are
// left alone.
func TestUnknownVariables(t *testing.T) {
	for name, want := range map[string]string{
		"TIDEMILL_CALCULATOR_ADRR":       `did you mean "TIDEMILL_CALCULATOR_ADDR"?`,
		"TIDEMILL_BROKER":                `did you mean "TIDEMILL_BROKERS"?`,
		"TIDEMILL_COMMIT_INTERVALL":      "'tidemill config' lists them all",
		"TIDEMILL_PROCESSOR_INSTANCE":    `did you mean "TIDEMILL_PROCESSOR_INSTANCE_ID"?`,
		"TIDEMILL_KEYFILE":               `did you mean "TIDEMILL_`,
		"TIDEMILL_":                      "'tidemill config' lists them all",
		"TIDEMILL_NOTHING_OF_THE_SORT_X": "'tidemill config' lists them all",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "1")
			_, err := load(t, "", "")
			if !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), name+": there is no such variable") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s is answered with %v, want %s", name, err, want)
			}
		})
	}
	for _, name := range []string{
		"TIDEMILL_TEST_LOG", "TIDEMILL_PORT", "TIDEMILL_SERVICE_HOST", "TIDEMILL_SERVICE_PORT_HTTP", "TIDEMILL_PORT_3030_TCP_ADDR", "TIDEMILL_QUERY_PORT_9002_TCP",
		"TIDEMILLER",
	} {
		t.Setenv(name, "x")
	}
	if _, err := load(t, "", ""); err != nil {
		t.Errorf("others' variables are refused: %v", err)
	}
}
