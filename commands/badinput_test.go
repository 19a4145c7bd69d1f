package commands_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands"
)

// badRequest is one that must be answered with an error and must not reach the log.
type badRequest struct {
	name    string
	method  string // POST if empty
	path    string // /values if empty
	body    string
	headers []string
	status  int
	pointer string // of the offending member, if there is one
}

var badRequests = []badRequest{
	// What is no JSON, or not strictly.
	{name: "empty body", body: "", headers: []string{"Content-Type", "application/json"}, status: 400},
	{name: "white space", body: " \n ", status: 400},
	{name: "no JSON", body: "value=3", status: 400, pointer: "#"},
	{name: "cut off", body: `{"value": 3`, status: 400},
	{name: "cut off in a string", body: `{"do": "a`, status: 400},
	{name: "cut off in a number", body: `{"value": -`, status: 400},
	{name: "missing colon", body: `{"value" 3}`, status: 400},
	{name: "missing comma", body: `{"value": 3 "do": "x"}`, status: 400},
	{name: "trailing comma", body: `{"value": 3,}`, status: 400},
	{name: "single quotes", body: `{'value': 3}`, status: 400},
	{name: "unquoted name", body: `{value: 3}`, status: 400},
	{name: "comment", body: `{"value": 3 /* three */}`, status: 400},
	{name: "two values", body: `{"value": 3}{"value": 4}`, status: 400},
	{name: "trailing data", body: `{"value": 3} x`, status: 400},
	{name: "trailing bracket", body: `{"value": 3}]`, status: 400},
	{name: "name twice", body: `{"value": 3, "value": 4}`, status: 400, pointer: "#/value"},
	{name: "name twice, escaped", body: `{"value": 3, "v\u0061lue": 4}`, status: 400, pointer: "#/value"},
	{name: "name twice, further in", body: `{"value": 3, "tags": [{"a": 1, "a": 2}]}`, status: 400, pointer: "#/tags/0/a"},
	{name: "NaN", body: `{"value": NaN}`, status: 400},
	{name: "Infinity", body: `{"value": Infinity}`, status: 400},
	{name: "negative infinity", body: `{"value": -Infinity}`, status: 400},
	{name: "hexadecimal", body: `{"value": 0x10}`, status: 400},
	{name: "leading zero", body: `{"value": 03}`, status: 400},
	{name: "leading plus", body: `{"value": +3}`, status: 400},
	{name: "no digit after the point", body: `{"value": 3.}`, status: 400},
	{name: "no digit before the point", body: `{"value": .3}`, status: 400},
	{name: "capital True", body: `{"value": True}`, status: 400},
	{name: "invalid UTF-8", body: "{\"value\": 3, \"do\": \"\xff\xfe\"}", status: 400},
	{name: "invalid UTF-8 in a name", body: "{\"v\xffalue\": 3}", status: 400},
	{name: "half a surrogate pair", body: `{"value": 3, "do": "\ud800"}`, status: 400},
	{name: "control character in a string", body: "{\"value\": 3, \"do\": \"a\x01\"}", status: 400},
	{name: "unknown escape", body: `{"value": 3, "do": "\x41"}`, status: 400},
	{name: "byte order mark", body: "\ufeff{\"value\": 3}", status: 400},
	{name: "UTF-16", body: "{\x00\"\x00", status: 400},
	{name: "nul", body: "\x00", status: 400},
	{name: "arrays too deep", body: `{"value": 3, "tags": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, status: 400},
	{name: "objects too deep", body: strings.Repeat(`{"a":`, 100000), status: 400},

	// JSON that is not what is wanted.
	{name: "null", body: `null`, status: 422, pointer: "#"},
	{name: "array", body: `[3]`, status: 422, pointer: "#"},
	{name: "string", body: `"3"`, status: 422, pointer: "#"},
	{name: "number", body: `3`, status: 422, pointer: "#"},
	{name: "nothing in it", body: `{}`, status: 422, pointer: "#/value"},
	{name: "value is a string", body: `{"value": "3"}`, status: 422, pointer: "#/value"},
	{name: "value is null", body: `{"value": null}`, status: 422, pointer: "#/value"},
	{name: "value is true", body: `{"value": true}`, status: 422, pointer: "#/value"},
	{name: "value is an array", body: `{"value": [3]}`, status: 422, pointer: "#/value"},
	{name: "value is an object", body: `{"value": {"value": 3}}`, status: 422, pointer: "#/value"},
	{name: "NaN as text", body: `{"value": "NaN"}`, status: 422, pointer: "#/value"},
	{name: "beyond a float", body: `{"value": 1e309}`, status: 422, pointer: "#/value"},
	{name: "far beyond a float", body: `{"value": -1e308}`, status: 422, pointer: "#/value"},
	{name: "an exponent to choke on", body: `{"value": 1e999999999}`, status: 422, pointer: "#/value"},
	{name: "a negative one", body: `{"value": 1e-999999999}`, status: 422, pointer: "#/value"},
	{name: "an exponent beyond integers", body: `{"value": 1e99999999999999999999}`, status: 422, pointer: "#/value"},
	{name: "more digits than anyone needs", body: `{"value": ` + strings.Repeat("9", 100000) + `}`, status: 422, pointer: "#/value"},
	{name: "unknown member", body: `{"value": 3, "valeu": 4}`, status: 422, pointer: "#/valeu"},
	{name: "member in another case", body: `{"Value": 3, "value": 3}`, status: 422, pointer: "#/Value"},
	{name: "member with slash and tilde", body: `{"value": 3, "a/b~c": 4}`, status: 422, pointer: "#/a~1b~0c"},
	{name: "prototype", body: `{"value": 3, "__proto__": {}}`, status: 422, pointer: "#/__proto__"},
	{name: "string too long", body: `{"value": 3, "do": "` + strings.Repeat("x", 101) + `"}`, status: 422, pointer: "#/do"},
	{name: "not a date", body: `{"value": 3, "when": "tomorrow"}`, status: 422, pointer: "#/when"},
	{name: "wrong item", body: `{"value": 3, "tags": ["a", 2]}`, status: 422, pointer: "#/tags/1"},
	{name: "too many items", body: `{"value": 3, "tags": ["a", "b", "c", "d"]}`, status: 422, pointer: "#/tags"},
	{name: "known to the schema, not to the type", body: `{"value": 3, "tags": []}`, status: 422, pointer: "#/tags"},

	// Headers.
	{name: "form", body: "value=3", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415},
	{name: "no type", body: `{"value": 3}`, headers: []string{"Content-Type", ""}, status: 415},
	{name: "type text", body: `{"value": 3}`, headers: []string{"Content-Type", "text/plain"}, status: 415},
	{name: "malformed type", body: `{"value": 3}`, headers: []string{"Content-Type", ";;"}, status: 415},
	{name: "other charset", body: `{"value": 3}`, headers: []string{"Content-Type", "application/json; charset=latin1"}, status: 415},
	{name: "compressed", body: "\x1f\x8b", headers: []string{"Content-Encoding", "gzip"}, status: 415},
	{name: "too large", body: `{"value": 3, "do": "` + strings.Repeat("x", commands.DefaultBodyLimit) + `"}`, status: 413},
	{name: "too large in white space", body: strings.Repeat(" ", commands.DefaultBodyLimit) + `{"value": 3}`, status: 413},
	{name: "empty key", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `""`}, status: 400},
	{name: "key without its end", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `"abc`}, status: 400},
	{name: "key that goes on", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `"abc" "d"`}, status: 400},
	{name: "key with a bad escape", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `"a\bc"`}, status: 400},
	{name: "bare key of two words", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `a b`}, status: 400},
	{name: "key too long", body: `{"value": 3}`, headers: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 400},
	{name: "key beyond ASCII", body: `{"value": 3}`, headers: []string{"Idempotency-Key", `"schlüssel"`}, status: 400},
	{name: "key with a tab", body: `{"value": 3}`, headers: []string{"Idempotency-Key", "\"a\tb\""}, status: 400},
	{name: "two keys", body: `{"value": 3}`, headers: []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, status: 400},

	// Paths and methods.
	{name: "no route", path: "/nothing", body: `{"value": 3}`, status: 404},
	{name: "no method", method: "PATCH", body: `{"value": 3}`, status: 405},
	{name: "GET", method: "GET", status: 405},
	{name: "no id", method: "PUT", path: "/values/", body: `{"value": 3}`, status: 404},
	{name: "id too long", method: "PUT", path: "/values/" + strings.Repeat("x", 1025), body: `{"value": 3}`, status: 400},
	{name: "id with a line break", method: "PUT", path: "/values/a%0Ab", body: `{"value": 3}`, status: 400},
	{name: "id with a nul", method: "PUT", path: "/values/%00", body: `{"value": 3}`, status: 400},
	{name: "id that is no UTF-8", method: "PUT", path: "/values/%FF", body: `{"value": 3}`, status: 400},
	{name: "a body where none is wanted", method: "DELETE", path: "/values/a", body: `{"value": 3}`, status: 400},
}

// checkBadRequests sends every bad request; empty must then say that nothing reached the log.
func checkBadRequests(t *testing.T, url string) {
	t.Helper()
	for _, bad := range badRequests {
		method, path := bad.method, bad.path
		if method == "" {
			method = http.MethodPost
		}
		if path == "" {
			path = "/values"
		}
		got, err := trySend(method, url+path, bad.body, bad.headers...)
		if err != nil {
			t.Errorf("%s: %v", bad.name, err)
			continue
		}
		if got.status != bad.status || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v (%s), want %d", bad.name, got, got.header.Get("Content-Type"), bad.status)
			continue
		}
		if got.header.Get(commands.TokenHeader) != "" || got.header.Get(commands.CommandHeader) != "" {
			t.Errorf("%s: it has the headers of a command", bad.name)
		}
		if pointer := firstPointer(got.body); bad.pointer != "" && pointer != bad.pointer {
			t.Errorf("%s: it points to %q, not %q: %s", bad.name, pointer, bad.pointer, got.body)
		}
	}
	// A client that promises more than it sends, and one that lies in chunks.
	for name, request := range map[string]string{
		"half a body":     "POST /values HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"value\": 3}",
		"malformed chunk": "POST /values HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{\"value\": 3}\r\n0\r\n\r\n",
		"two lengths":     "POST /values HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n{\"value\": 3}",
	} {
		if status := raw(t, strings.TrimPrefix(url, "http://"), request); !strings.HasPrefix(status, "HTTP/1.1 400") {
			t.Errorf("%s: %s", name, status)
		}
	}
}

// raw writes bytes to the server, closes its half of the connection and returns the status line.
func raw(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, deadline)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}

func firstPointer(body string) string {
	var document struct {
		Errors []struct{ Pointer string }
	}
	if json.Unmarshal([]byte(body), &document) != nil || len(document.Errors) == 0 {
		return ""
	}
	return document.Errors[0].Pointer
}

func TestBadInputNeverReachesTheLog(t *testing.T) {
	if len(badRequests) < 40 {
		t.Fatalf("only %d cases", len(badRequests))
	}
	w := newWorld(t)
	checkBadRequests(t, w.serve(nil))
	if records := w.log.All(w.spec.Commands); len(records) != 0 {
		t.Errorf("%d records reached the log: %s", len(records), records[0].Value)
	}
}

func TestRequireKey(t *testing.T) {
	w := newWorld(t)
	commander, err := commands.NewOver(baseConfig(w.spec), w.produce, w.log)
	if err != nil {
		t.Fatal(err)
	}
	route := createRoute()
	route.Pattern, route.RequireKey = "/keyed", true
	if err := commander.Handle(route); err != nil {
		t.Fatal(err)
	}
	url := serve(t, commander)
	if got := send(t, "POST", url+"/keyed", `{"value":3}`); got.status != 400 || !strings.Contains(got.body, "Idempotency-Key") {
		t.Errorf("without a key: %v", got)
	}
	if got := send(t, "POST", url+"/keyed", `{"value":3}`, "Idempotency-Key", "k", "Prefer", "respond-async"); got.status != 202 {
		t.Errorf("with one: %v", got)
	}
}

func TestIdempotencyKeyForms(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "abc", `"abc"`: "abc", `"a\"b\\c"`: `a"b\c`, ` "x y" `: "x y", "8e03978e-40d5-43e8-bc93-6894a57f9324": "8e03978e-40d5-43e8-bc93-6894a57f9324",
	} {
		if got, err := commands.IdempotencyKey(http.Header{"Idempotency-Key": {text}}); err != nil || got != want {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	base := string(commands.Fingerprint("POST", "/values", []byte(`{"a":1,"b":[1,2]}`)))
	for _, same := range []string{` { "b" : [1, 2], "a" : 1 } `, `{"\u0061":1,"b":[1,2]}`} {
		if string(commands.Fingerprint("POST", "/values", []byte(same))) != base {
			t.Errorf("%s is another request", same)
		}
	}
	for _, other := range []string{`{"a":1,"b":[2,1]}`, `{"a":1.0,"b":[1,2]}`, `{"a":"1","b":[1,2]}`, `{"a":1}`, ``} {
		if string(commands.Fingerprint("POST", "/values", []byte(other))) == base {
			t.Errorf("%s is the same request", other)
		}
	}
	large := func(last string) string {
		return string(commands.Fingerprint("POST", "/values", []byte(`{"a":1234567890123456789`+last+`}`)))
	}
	if large("0") == large("1") {
		t.Error("numbers beyond a float's digits are the same")
	}
	if string(commands.Fingerprint("PUT", "/values", []byte(`{"a":1,"b":[1,2]}`))) == base || string(commands.Fingerprint("POST", "/value", []byte(`s{"a":1,"b":[1,2]}`))) == base {
		t.Error("method and path do not count")
	}
}

// FuzzHTTP sends any method's body and headers: the answer is a problem or an acceptance, and only what is accepted is
// in the log.
func FuzzHTTP(f *testing.F) {
	f.Add(`{"value": 3}`, "application/json", `"k"`, "wait=1", "a")
	f.Add(`{"value": 3, "do": "x"}`, "application/json; charset=utf-8", ``, "respond-async", "%41")
	for _, bad := range badRequests {
		if len(bad.body) < 1000 {
			f.Add(bad.body, "application/json", "k", "", "id")
		}
	}
	f.Fuzz(func(t *testing.T, body, contentType, key, preference, id string) {
		w := newWorld(t)
		config := baseConfig(w.spec)
		config.Outputs, config.Wait = commands.Outputs{}, time.Millisecond
		commander, err := commands.NewOver(config, w.produce, w.log)
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range []commands.Route[string, command]{createRoute(), updateRoute()} {
			if err := commander.Handle(route); err != nil {
				t.Fatal(err)
			}
		}
		handler, accepted := commander.Handler(), 0
		for i, method := range []string{"POST", "PUT"} {
			r := httptest.NewRequest(method, "/values", strings.NewReader(body))
			if i == 1 {
				r.URL.Path = "/values/" + id
			}
			r.Header = http.Header{"Content-Type": {contentType}, "Prefer": {preference}}
			if key != "" {
				r.Header["Idempotency-Key"] = []string{key}
			}
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, r)
			switch {
			case recorder.Code == http.StatusAccepted:
				accepted++
			case recorder.Code >= 300 && recorder.Code < 400: // the mux cleans paths
			case recorder.Code < 400 || recorder.Code >= 500:
				t.Fatalf("%s was answered %d: %s", method, recorder.Code, recorder.Body)
			case !json.Valid(recorder.Body.Bytes()):
				t.Fatalf("%s was answered with no JSON: %s", method, recorder.Body)
			}
		}
		records := w.log.All(w.spec.Commands)
		if len(records) != accepted {
			t.Fatalf("%d were accepted and %d are in the log", accepted, len(records))
		}
		for _, record := range records {
			var written command
			if err := json.Unmarshal(record.Value, &written); err != nil || written.ID == "" || len(record.Key) == 0 {
				t.Fatalf("a malformed command is in the log: %s, %v", fmt.Sprintf("%q", record.Value), err)
			}
		}
	})
}
