package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/store"
)

func TestStatus(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t, 2).process(func() { <-gate })
	s := w.start(store.NewMemory(), func(c *Config) { c.Registerer = prometheus.NewRegistry() })
	w.send(1, "k", "a", "events:2")
	eventually(t, "the command is known", func() bool { _, known, _ := s.index.First("a"); return known })
	if code, got, _ := get(t, s.url+"/commands/a"); code != 200 || got.Status != outcome.Pending || got.Aggregate != "k" || got.Timestamp != start {
		t.Errorf("before the processor: %d %+v", code, got)
	}
	if code, _, _ := get(t, s.url+"/commands/unknown"); code != 404 {
		t.Errorf("unknown: %d", code)
	}
	if code, _, header := get(t, s.url+"/commands/unknown", "Prefer", "wait=0.01"); code != 404 || header.Get("Preference-Applied") != "wait=0.01" {
		t.Errorf("unknown for a while: %d %v", code, header)
	}
	close(gate)
	code, got, _ := get(t, s.url+"/commands/a", "Prefer", "wait=20")
	if code != 200 || got.Status != outcome.Accepted || len(got.Events) != 2 || got.Events[1].ID != "a/1" || got.Token == "" {
		t.Errorf("accepted: %d %+v", code, got)
	}
	late := make(chan outcome.Outcome)
	go func() {
		_, got, _ := get(t, s.url+"/commands/late", "Prefer", "wait=20")
		late <- got
	}()
	w.send(0, "k", "late", "reject:conflict")
	if got := <-late; got.Status != outcome.Rejected || got.Kind != "conflict" || got.Reason != "because" {
		t.Errorf("asked before it was sent: %+v", got)
	}
	w.send(0, "k", "silent", "nothing")
	if _, got, _ := get(t, s.url+"/commands/silent", "Prefer", "wait=20"); got.Status != outcome.Accepted || len(got.Events) != 0 {
		t.Errorf("without an event: %+v", got)
	}
	second := w.send(1, "k", "a", "events:9")
	if _, got, _ := get(t, s.url+"/commands/a?token="+second.String(), "Prefer", "wait=20"); got.Kind != outcome.KindIdempotencyConflict {
		t.Errorf("the conflict by its token: %+v", got)
	}
	if _, got, _ := get(t, s.url+"/commands/a"); got.Status != outcome.Accepted || len(got.Events) != 2 {
		t.Errorf("the id's own outcome after a conflict: %+v", got)
	}
	retry := w.send(1, "k", "a", "events:2")
	if _, got, _ := get(t, s.url+"/commands/a?token="+retry.String(), "Prefer", "wait=20"); got.Status != outcome.Accepted || !got.Duplicate || len(got.Events) != 2 {
		t.Errorf("the retry by its token: %+v", got)
	}
	for _, bad := range []string{"/commands/a?token=x", "/commands/a?token=" + outcome.Position{Topic: "other"}.String(), "/commands/" + strings.Repeat("x", 2000)} {
		if code, _, _ := get(t, s.url+bad); code != 400 {
			t.Errorf("%.60s: %d", bad, code)
		}
	}
	if fingerprint, known, err := s.Fingerprint(context.Background(), "a"); string(fingerprint) != "events:2" || !known || err != nil {
		t.Errorf("fingerprint %q, %v, %v", fingerprint, known, err)
	}
	if _, known, err := s.Fingerprint(context.Background(), "b"); known || err != nil {
		t.Errorf("a fingerprint of nothing: %v, %v", known, err)
	}
}

func TestVisible(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) {
		c.Authorizer = auth.Func(func(_ context.Context, r *http.Request) (auth.Principal, error) {
			if r.Header.Get("Authorization") == "" {
				return auth.Principal{}, &auth.UnauthorizedError{Detail: "who?"}
			}
			return auth.Principal{ID: r.Header.Get("Authorization")}, nil
		})
		c.Visible = func(principal auth.Principal, found outcome.Outcome) bool { return found.Principal == principal.ID }
	})
	w.send(0, "k", "a", "events:1")
	for who, want := range map[string]int{"": 401, "bob": 404, "ada": 200} {
		if code, _, _ := get(t, s.url+"/commands/a", "Prefer", "wait=20", "Authorization", who); code != want {
			t.Errorf("%q: %d", who, code)
		}
	}
}

// TestRestart: the store goes on where it stood, over a restart and in spite of what happened meanwhile.
func TestRestart(t *testing.T) {
	w := newWorld(t, 2).process(nil)
	dir := filepath.Join(t.TempDir(), "outcomes")
	open := func() (*instance, func()) {
		engine, err := openStore(dir, w.config().Logger)
		if err != nil {
			t.Fatal(err)
		}
		i := w.start(engine, nil)
		return i, func() {
			i.stop()
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	s, stop := open()
	w.send(1, "k", "a", "events:1")
	if _, got, _ := get(t, s.url+"/commands/a", "Prefer", "wait=20"); got.Status != outcome.Accepted {
		t.Fatalf("before: %+v", got)
	}
	stop()
	w.send(1, "k", "b", "reject:conflict")
	s, stop = open()
	for id, want := range map[string]outcome.Status{"a": outcome.Accepted, "b": outcome.Rejected} {
		if _, got, _ := get(t, s.url+"/commands/"+id, "Prefer", "wait=20"); got.Status != want {
			t.Errorf("after a restart, %s: %+v", id, got)
		}
	}
	positions := s.engine.Checkpoints()
	if got := positions[w.spec.Commands+"/1"]; got.Offset != 2 {
		t.Errorf("checkpoints %+v", positions)
	}
	stop()
	// Topics that are others by the same names: nothing of the old ones may be told.
	w.log.CreateTopics(w.spec, 2)
	s, stop = open()
	defer stop()
	if code, _, _ := get(t, s.url+"/commands/a"); code != 404 {
		t.Errorf("after the topics were created anew: %d", code)
	}
}

func TestHorizon(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) { c.Horizon = time.Minute })
	w.sendAt(0, "k", "old", "events:2", start)
	w.sendAt(0, "k", "older than that", "reject:invalid", start-1)
	if code, _, _ := get(t, s.url+"/commands/old", "Prefer", "wait=20"); code != 200 {
		t.Fatalf("at first: %d", code)
	}
	// One command from the future makes nobody forget anything.
	w.sendAt(0, "k", "future", "events:1", start+int64(time.Hour/time.Millisecond))
	for i := range 20 {
		w.sendAt(0, "k", fmt.Sprint("soon", i), "events:1", start+30_000)
	}
	get(t, s.url+"/commands/soon19", "Prefer", "wait=20")
	if code, _, _ := get(t, s.url+"/commands/old"); code != 200 {
		t.Errorf("within the horizon: %d", code)
	}
	for i := range 40 {
		w.sendAt(0, "k", fmt.Sprint("late", i), "events:1", start+90_000)
	}
	get(t, s.url+"/commands/late39", "Prefer", "wait=20")
	w.sendAt(0, "k", "last", "nothing", start+90_000)
	get(t, s.url+"/commands/last", "Prefer", "wait=20")
	for _, id := range []string{"old", "older%20than%20that"} {
		if code, _, _ := get(t, s.url+"/commands/"+id); code != 404 {
			t.Errorf("beyond the horizon %s: %d", id, code)
		}
	}
	if code, _, _ := get(t, s.url+"/commands/soon19"); code != 404 && code != 200 {
		t.Errorf("near the horizon: %d", code)
	}
	if code, _, _ := get(t, s.url+"/commands/late0"); code != 200 {
		t.Errorf("the latest: %d", code)
	}
	for name, want := range map[string]int{storeCommands: 0, storeEntries: 0, storeIDs: 0} {
		rows := s.engine.Range(name, nil, nil, false)
		count := 0
		for rows.Next() {
			if strings.Contains(string(rows.Key())+string(rows.Value()), "old") {
				count++
			}
		}
		rows.Close()
		if count != want {
			t.Errorf("%s has %d rows of what has expired", name, count)
		}
	}
}

// TestBeginsAtTheHorizon: an empty store does not read the whole log.
func TestBeginsAtTheHorizon(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	w.sendAt(0, "k", "ancient", "events:1", start-int64(48*time.Hour/time.Millisecond))
	w.sendAt(0, "k", "new", "events:1", start)
	w.sendAt(0, "k", "future", "events:1", start+int64(10000*time.Hour/time.Millisecond))
	s := w.start(store.NewMemory(), func(c *Config) { c.Clock = func() time.Time { return time.UnixMilli(start + 1000) } })
	if _, got, _ := get(t, s.url+"/commands/new", "Prefer", "wait=20"); got.Status != outcome.Accepted {
		t.Errorf("new: %+v", got)
	}
	if code, _, _ := get(t, s.url+"/commands/ancient"); code != 404 {
		t.Errorf("ancient: %d", code)
	}
}

func TestClient(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), nil)
	client, err := NewClient(s.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	position := w.send(0, "k", "a b/c", "reject:invalid")
	got, err := client.Await(ctx, outcome.Command{ID: "a b/c", Position: position})
	if err != nil || got.Status != outcome.Rejected || got.Reason != "because" {
		t.Errorf("over HTTP: %+v, %v", got, err)
	}
	soon, cancelSoon := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancelSoon()
	position.Offset += 100
	if got, err := client.Await(soon, outcome.Command{ID: "b", Position: position}); got.Status != outcome.Pending || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a command that is not there: %+v, %v", got, err)
	}
	s.stop()
	if _, err := client.Await(ctx, outcome.Command{ID: "a", Position: position}); err == nil || ctx.Err() != nil {
		t.Errorf("of a server that is not there: %v", err)
	}
	for _, bad := range []string{"", "subscriptions:3033", "ftp://x", "http://"} {
		if _, err := NewClient(bad, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestConfig(t *testing.T) {
	if _, err := Open(Config{Horizon: -1, MaxStreams: -1}); !errors.Is(err, ErrConfig) || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("an empty configuration: %v", err)
	}
	w := newWorld(t, 1)
	if _, err := Open(w.config()); !errors.Is(err, ErrConfig) {
		t.Errorf("no brokers: %v", err)
	}
	config, err := w.config().withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	config.Events = []string{"nowhere"}
	s, err := assemble(config, store.NewMemory(), w.log, timing)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(context.Background()); !errors.Is(err, follow.ErrTopicMissing) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a topic that is not there: %v", err)
	}
}
