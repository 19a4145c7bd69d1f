package e2e

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// places are where the README's ports are in a test.
func places(t *testing.T, up *process) *strings.Replacer {
	t.Helper()
	told := up.output.String()
	match := regexp.MustCompile(`ordering +(http://\S+)/ordering +\(the page; HTTP: commands (http://\S+), queries (http://\S+)\)`).FindStringSubmatch(told)
	if match == nil {
		t.Fatalf("up does not say where ordering is:\n%s", told)
	}
	return strings.NewReplacer("http://localhost:9000", match[1], "http://localhost:9001", match[2], "http://localhost:9002", match[3])
}

// Any address may leave the port to the system: up tells which it is, and the pages link and forward there.
func TestUpOnAnyPort(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t), "--calculator-addr", "127.0.0.1:0",
		"--ordering-command-addr", "127.0.0.1:0", "--ordering-query-addr", ":0", "--ordering-page-addr", "127.0.0.1:0", "--url", "http://127.0.0.1:0")
	up.awaitReady()
	at := places(t, up)
	page := at.Replace("http://localhost:9000")
	systems := must(t, http.MethodGet, page+"/systems.json", "")
	links := regexp.MustCompile(`"url":"(//[^"]+)"`).FindAllStringSubmatch(systems.body, -1)
	if len(links) != 2 {
		t.Fatalf("the pages are linked as %s", systems.body)
	}
	for _, link := range links {
		if got := must(t, http.MethodGet, "http:"+link[1], ""); got.status != http.StatusOK || !strings.Contains(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("the link %s leads to %d, %s", link[1], got.status, got.header.Get("Content-Type"))
		}
	}
	if got := must(t, http.MethodGet, page+"/services.json", ""); got.body != `{"command":"","query":""}` {
		t.Errorf("the services are told to be %s", got.body)
	}
	placed := must(t, http.MethodPost, page+"/orders", `{"customerId":"alice","itemLabel":"Tea","itemPrice":4.99}`)
	if placed.status != http.StatusAccepted {
		t.Fatalf("placing an order: %d, %s", placed.status, placed.body)
	}
	for _, base := range []string{page, at.Replace("http://localhost:9002")} {
		got := must(t, http.MethodGet, base+"/orders?customerId=alice&price=CHEAP", "", "Tidemill-Token", placed.header.Get("Tidemill-Token"), "Prefer", "wait=20")
		if got.status != http.StatusOK || got.body != `[{"label":"Tea","price":4.99,"quantity":1}]` {
			t.Errorf("the order by %s: %d, %s", base, got.status, got.body)
		}
	}
}

// said is a command of a console session in the README, and what came of it.
type said struct{ args, answer []string }

// consoleOf returns the curl sessions of a section of the README.
func consoleOf(t *testing.T, section string) (all []said) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("the README has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	words := regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`)
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(rest, -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimRight(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ curl "); ok {
				all = append(all, said{})
				for _, word := range words.FindAllStringSubmatch(command, -1) {
					all[len(all)-1].args = append(all[len(all)-1].args, word[1]+word[2]+word[3])
				}
			} else if len(all) > 0 && line != "" {
				all[len(all)-1].answer = append(all[len(all)-1].answer, line)
			}
		}
	}
	return all
}

// request makes curl's request.
func (s said) request(t *testing.T) (method, url, body string, headers []string) {
	t.Helper()
	method = http.MethodGet
	for i := 0; i < len(s.args); i++ {
		switch arg := s.args[i]; arg {
		case "-N":
		case "-X", "-d", "-H":
			i++
			switch value := s.args[i]; arg {
			case "-X":
				method = value
			case "-d":
				method, body = http.MethodPost, value
			case "-H":
				name, value, _ := strings.Cut(value, ": ")
				headers = append(headers, name, value)
			}
		default:
			if url != "" || strings.HasPrefix(arg, "-") {
				t.Fatalf("curl %q: what is %q?", s.args, arg)
			}
			url = arg
		}
	}
	return method, url, body, headers
}

// changing is what differs from one time to the next: ids, times, tokens, positions.
var changing = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"(placedAt|timestamp)":\d+|"token":"[^"]*"|"partition":\d+|"offset":\d+|\bid: .*`)

func settled(text string) string { return changing.ReplaceAllString(text, "…") }

// The README's session with ordering goes as it is printed there.
func TestReadmeOrdering(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	up.awaitReady()
	at := places(t, up)
	session := consoleOf(t, "Online ordering")
	if len(session) < 6 {
		t.Fatalf("the README's session has %d requests", len(session))
	}
	token := ""
	for _, one := range session {
		method, url, body, headers := one.request(t)
		if url = at.Replace(url); strings.HasSuffix(url, "/changes") {
			readmeStream(t, url, one.answer, at.Replace("http://localhost:9000/orders/pot"))
			continue
		}
		if method == http.MethodGet { // a person is slower than the log
			headers = append(headers, "Tidemill-Token", token)
		}
		got := must(t, method, url, body, headers...)
		if answered := got.header.Get("Tidemill-Token"); answered != "" {
			token = answered
		}
		if want := strings.Join(one.answer, "\n"); settled(got.body) != settled(want) {
			t.Errorf("curl %q:\n%s\nthe README has\n%s", one.args, got.body, want)
		}
	}
}

// readmeStream compares a stream, in which an order is cancelled once it is ready. The order's and the totals' events may
// come either way round.
func readmeStream(t *testing.T, url string, want []string, cancel string) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), patience)
	defer end()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got []string
	for lines := bufio.NewScanner(response.Body); len(got) < len(want) && lines.Scan(); {
		if line := lines.Text(); line != "" && !strings.HasPrefix(line, ":") {
			got = append(got, line)
			if line == "event: ready" {
				if answer := must(t, http.MethodDelete, cancel, ""); answer.status != http.StatusOK {
					t.Fatalf("cancelling: %d, %s", answer.status, answer.body)
				}
			}
		}
	}
	for _, lines := range [][]string{got, want} {
		for i := range lines {
			lines[i] = settled(lines[i])
		}
		slices.Sort(lines)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the stream is\n%s\nthe README has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
