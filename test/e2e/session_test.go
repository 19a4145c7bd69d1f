package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/calculator"
)

const unknownID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

var createdBody = regexp.MustCompile(`^\{"value_id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","value":3\.0\}$`)

// session is the text's: create 3, fail to multiply what is not there, multiply by 3, read 9.0.
func session(t *testing.T, writes, reads string) (id string) {
	t.Helper()
	created := must(t, http.MethodPost, writes+"/values", `{"value": 3}`)
	match := createdBody.FindStringSubmatch(created.body)
	if created.status != http.StatusCreated || match == nil || created.header.Get("Location") != "/values/"+match[1] {
		t.Fatalf("creating 3: %d, %s, %v", created.status, created.body, created.header)
	}
	id = match[1]
	rejected := must(t, http.MethodPut, writes+"/values/"+unknownID, `{"operation": "MULTIPLY", "value": 3}`)
	if rejected.status != http.StatusNotFound || !strings.Contains(rejected.body, `"detail":"value with id `+unknownID+` does not exist"`) ||
		rejected.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("multiplying an unknown value: %d, %s", rejected.status, rejected.body)
	}
	updated := must(t, http.MethodPut, writes+"/values/"+id, `{"operation": "MULTIPLY", "value": 3}`)
	want := fmt.Sprintf(`{"value_id":"%s","value":9.0}`, id)
	if updated.status != http.StatusOK || updated.body != want {
		t.Fatalf("multiplying by 3: %d, %s", updated.status, updated.body)
	}
	if got := must(t, http.MethodGet, reads+"/values/"+id, ""); got.status != http.StatusOK || got.body != want {
		t.Fatalf("reading: %d, %s; want %s", got.status, got.body, want)
	}
	again := must(t, http.MethodPost, writes+"/values", fmt.Sprintf(`{"value": 1, "value_id": %q}`, strings.ToUpper(id)))
	if again.status != http.StatusConflict || !strings.Contains(again.body, "value with id "+id+" already exists") {
		t.Fatalf("creating it again: %d, %s", again.status, again.body)
	}
	return id
}

// eventIDs returns all event ids, partition by partition.
func eventIDs(t *testing.T, brokers string) (ids []string) {
	t.Helper()
	events := readTopic(t, brokers, calculator.Events.Name())
	for partition := range int32(len(events) + 4) {
		for _, record := range events[partition] {
			event, err := calculator.Events.Value().Decode(record.Value)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, event.ID)
		}
	}
	return ids
}

// The text's session on everything in one process, over a stop and over kill -9.
func TestSession(t *testing.T) {
	brokers := freeAddr(t)
	began := time.Now()
	up := launch(t, "up", "up", "--broker-addr", brokers, "--data", dataDir(t))
	up.awaitReady()
	t.Logf("up is ready after %s", time.Since(began).Round(time.Millisecond))
	id := session(t, up.url, up.url)
	for _, line := range []string{"Tidemill is up", "data ", "authorization  off", up.url} {
		if !strings.Contains(up.output.String(), line) {
			t.Errorf("what up says at its start lacks %q:\n%s", line, up.output)
		}
	}
	ids := eventIDs(t, brokers)
	want := fmt.Sprintf(`{"value_id":"%s","value":9.0}`, id)
	for _, end := range []struct {
		name string
		end  func() time.Duration
	}{
		{"stopped", up.terminate},
		{"killed", func() time.Duration { up.kill9(); return 0 }},
	} {
		took := end.end()
		began := time.Now()
		up.start()
		up.awaitReady()
		t.Logf("%s in %s, ready again after %s", end.name, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if got := must(t, http.MethodGet, up.url+"/values/"+id, ""); got.body != want {
			t.Errorf("%s and started again: %d, %s; want %s", end.name, got.status, got.body, want)
		}
		if now := eventIDs(t, brokers); strings.Join(now, " ") != strings.Join(ids, " ") {
			t.Errorf("%s and started again, the events are %v; they were %v", end.name, now, ids)
		}
		session(t, up.url, up.url)
		ids = eventIDs(t, brokers)
	}
	check(t, brokers)
}

// One command's way is found in the log by its id, through all components.
func TestLogsShowACommandsWay(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	up.awaitReady()
	session(t, up.url, up.url)
	created := must(t, http.MethodPost, up.url+"/values", `{"value": 3}`)
	rejected := must(t, http.MethodPut, up.url+"/values/"+unknownID, `{"operation": "ADD", "value": 3}`)
	for id, lines := range map[string][]string{
		created.header.Get("Tidemill-Command-Id"): {
			`msg="received command" component=commander`, `msg="received command" component=command_processor`,
			`msg="validating command"`, `msg="successfully sent event"`, `msg="received event" component=materialized_view`, `msg="command accepted"`,
		},
		rejected.header.Get("Tidemill-Command-Id"): {
			`msg="received command" component=commander`, `msg="received command" component=command_processor`, `msg="command rejected" component=command_processor`,
		},
	} {
		for _, line := range lines {
			eventually(t, fmt.Sprintf("the log has a line with %s and %s", line, id), func() bool {
				for logged := range strings.Lines(up.Log()) {
					if strings.Contains(logged, line) && strings.Contains(logged, "command="+id) {
						return true
					}
				}
				return false
			})
		}
	}
}

// The text's session on four processes.
func TestSessionInFourProcesses(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		s := separate(t, brokers)
		id := session(t, s.commander.url, s.view.url)
		asked := must(t, http.MethodPut, s.commander.url+"/values/"+id, `{"operation": "ADD", "value": 1}`, "Prefer", "respond-async")
		if asked.status != http.StatusAccepted {
			t.Fatalf("asking for an answer at once: %d, %s", asked.status, asked.body)
		}
		got := must(t, http.MethodGet, s.view.url+"/values/"+id, "", "Tidemill-Token", asked.header.Get("Tidemill-Token"))
		if want := fmt.Sprintf(`{"value_id":"%s","value":10.0}`, id); got.body != want {
			t.Errorf("reading what was written: %d, %s; want %s", got.status, got.body, want)
		}
		status := must(t, http.MethodGet, s.subscriptions.url+"/commands/"+asked.header.Get("Tidemill-Command-Id"), "", "Prefer", "wait=5")
		if status.status != http.StatusOK || !strings.Contains(status.body, `"status":"accepted"`) {
			t.Errorf("the status of the command: %d, %s", status.status, status.body)
		}
		check(t, brokers)
		for _, p := range []*process{s.processor, s.commander, s.view, s.subscriptions} {
			t.Logf("%s left in %s", p.name, p.terminate().Round(time.Millisecond))
		}
	})
}
