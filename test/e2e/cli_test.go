package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/tidemilltest"
)

// childOf returns the process id of the one child of a process.
func childOf(t *testing.T, p *process) int {
	t.Helper()
	pid := findChild(t, p)
	if pid == 0 {
		t.Fatal("up has no child")
	}
	return pid
}

// findChild is childOf for a process that may have none, which is 0.
func findChild(t *testing.T, p *process) int {
	t.Helper()
	pid, err := tidemilltest.ChildOf(p.PID())
	if err != nil {
		t.Skipf("skipped: the broker, a child of the process under test, is looked for in /proc, which Linux has: %v", err)
	}
	return pid
}

// The commands that look at what happened.
func TestOperating(t *testing.T) {
	brokers, data := freeAddr(t), dataDir(t)
	up := launch(t, "up", "up", "--broker-addr", brokers, "--data", data, "--pprof", "--processor-session-timeout", "3s")
	up.awaitReady()
	id := session(t, up.url, up.url)
	expect := func(code int, want []string, args ...string) {
		t.Helper()
		stdout, stderr, got := run(t, args...)
		if got != code {
			t.Errorf("tidemill %v: exit code %d, want %d\n%s%s", args, got, code, stdout, stderr)
		}
		for _, text := range want {
			if !strings.Contains(stdout+stderr, text) {
				t.Errorf("tidemill %v says nothing of %q:\n%s%s", args, text, stdout, stderr)
			}
		}
	}
	expect(0, []string{"calculator-commands ", "calculator-values-changelog", "forever", "latest of each key"}, "topics", "--brokers", brokers)
	expect(0, []string{"good   calculator-dead-letters"}, "topics", "check", "calculator", "--brokers", brokers)
	expect(0, []string{"good   calculator-events"}, "topics", "create", "calculator", "--brokers", brokers)
	expect(0, []string{"calculator-commands ", "Stable", "COMMITTED"}, "lag", "--brokers", brokers)
	expect(0, []string{"key=" + id, `"action":"ValueUpdated"`, `"result":9.0`, "tidemill-cause="}, "tail", "calculator-events", "--from", "beginning", "--brokers", brokers)
	expect(0, []string{`"kind":"not-found"`}, "tail", "calculator-rejections", "--since", "1h", "--format", "json", "--brokers", brokers)
	expect(0, nil, "tail", "calculator-dead-letters", "--from", "0", "--brokers", brokers)
	expect(1, []string{"topic missing"}, "tail", "no-such-topic", "--from", "0", "--brokers", brokers)
	expect(2, []string{"--since"}, "tail", "calculator-events", "--since", "yesterday", "--brokers", brokers)
	expect(2, []string{"--from 1000000 is beyond the end of calculator-events: partition 0 at "}, "tail", "calculator-events", "--from", "1000000", "--follow", "--brokers", brokers)
	expect(2, []string{"--limit -3"}, "tail", "calculator-events", "--from", "beginning", "-n", "-3", "--brokers", brokers)
	expect(4, []string{"would delete topic calculator-values-changelog", "has member", "WARNING: calculator-events, calculator-rejections, calculator-dead-letters stay", "everything twice: calculator-history"},
		"reset", "calculator", "--brokers", brokers, "--data", data)
	expect(4, []string{"another tidemill runs", "another directory"}, "broker", "--broker-addr", "127.0.0.1:0", "--data", data)
	for path, want := range map[string]string{
		"/metrics": "tidemill_processor_records_total", "/healthz": "alive", "/readyz": `"ready":true`, "/debug/pprof/cmdline": "tidemill",
	} {
		if got := must(t, http.MethodGet, up.admin+path, ""); got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d, %.200s; want %s in it", path, got.status, got.body, want)
		}
	}
	placed := must(t, http.MethodPost, places(t, up).Replace("http://localhost:9001")+"/orders", `{"customerId":"alice","itemLabel":"Tea","itemPrice":4.99}`)
	cheap := `[{"label":"Tea","price":4.99,"quantity":1}]`
	if got := must(t, http.MethodGet, places(t, up).Replace("http://localhost:9002")+"/orders?customerId=alice&price=CHEAP", "", "Tidemill-Token", placed.header.Get("Tidemill-Token")); got.body != cheap {
		t.Errorf("the order that was placed: %d, %s", got.status, got.body)
	}
	expect(0, []string{"ordering-query-500-5000-by-time-repartition"}, "lag", "ordering-query-500-5000", "--brokers", brokers)
	up.terminate()
	// Started over on the same log: the same events, the same values. What was made of the events by others goes too.
	expect(0, []string{"deleted topic calculator-events", "deleted local state", "deleted the offsets of group calculator-history-calculator-events"},
		"reset", "calculator", "--embedded", "--broker-addr", brokers, "--data", data, "--outputs", "--wait", "20s", "--yes")
	expect(0, []string{"deleted topic ordering-events", "deleted topic ordering-query-500-5000-by-time-repartition"},
		"reset", "ordering", "--embedded", "--broker-addr", brokers, "--data", data, "--outputs", "--wait", "20s", "--yes")
	before := time.Now()
	up.start()
	up.awaitReady()
	eventually(t, "the value is back", func() bool {
		return must(t, http.MethodGet, up.url+"/values/"+id, "").body == `{"value_id":"`+id+`","value":9.0}`
	})
	eventually(t, "the order is back", func() bool {
		return must(t, http.MethodGet, places(t, up).Replace("http://localhost:9002")+"/orders?customerId=alice&price=CHEAP", "").body == cheap
	})
	t.Logf("everything again from the commands in %s", time.Since(before).Round(time.Millisecond))
	check(t, brokers)
}

// Wrong usage is told in words, with its exit code, and nothing is started.
func TestUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("calculator:\n  adr: x\nlog: {level: loud}\nprocessor: {session-timeout: soon}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"help"}, 0, []string{"tidemill up", "Exit codes"}},
		{[]string{"up", "--help"}, 0, []string{"--data", "--calculator-addr", "Examples:"}},
		{[]string{"upp"}, 2, []string{`"tidemill upp"`, "up"}},
		{[]string{"up", "--no-such-flag"}, 2, []string{"no-such-flag"}},
		{[]string{"calculator", "processsor"}, 2, []string{"processor"}},
		{[]string{"describe"}, 2, []string{"application"}},
		{[]string{"describe", "nothing"}, 2, []string{"calculator"}},
		{[]string{"describe", "calculator", "--format", "dot"}, 0, []string{"digraph"}},
		{[]string{"describe", "calculator", "--format", "mermaid"}, 0, []string{"flowchart"}},
		{[]string{"describe", "calculator", "--format", "json"}, 0, []string{`"calculator-commands"`}},
		{[]string{"config", "--config", bad}, 2, []string{"calculator.adr", "log.level", "processor.session-timeout", "a duration"}},
		{[]string{"config", "--brokers", "one"}, 2, []string{"host:port"}},
		{[]string{"config"}, 0, []string{"addr: \"127.0.0.1:3030\"", "TIDEMILL_CALCULATOR_ADDR"}},
		{[]string{"help", "calculator", "view"}, 0, []string{"Answer queries", "--calculator-url"}},
		{[]string{"help", "nope"}, 2, []string{`"tidemill nope"`, "calculator"}},
		{[]string{"help", "calculator", "nope"}, 2, []string{`"tidemill calculator nope"`, "subscriptions"}},
		{[]string{"topics", "--brokers", freeAddr(t), "--request-timeout", "300ms"}, 3, []string{"broker unreachable", "--brokers"}},
		{[]string{"completion", "bash"}, 0, []string{"tidemill"}},
		{[]string{"completion", "csh"}, 2, []string{"csh", "zsh"}},
		{[]string{"--version"}, 0, []string{"tidemill version", "go1."}},
		{[]string{"up", "--calculator-addr", "256.0.0.1:x", "--log-format", "xml"}, 2, []string{"calculator.addr", "log.format"}},
	} {
		stdout, stderr, code := run(t, c.args...)
		if code != c.code {
			t.Errorf("tidemill %v: exit code %d, want %d: %s", c.args, code, c.code, stderr)
		}
		for _, text := range c.want {
			if !strings.Contains(stdout+stderr, text) {
				t.Errorf("tidemill %v says nothing of %q:\n%s%s", c.args, text, stdout, stderr)
			}
		}
	}
}
