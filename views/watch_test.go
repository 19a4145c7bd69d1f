package views_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
)

func number(value float64) *float64 { return &value }

// TestWatchOneKey follows one row from nothing over its changes to its deletion, and over a reconnect.
func TestWatchOneKey(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		f := newFixture(t, b, 3)
		f.restored(t)
		url := f.serve(t, calculatorHTTP)
		c := follow(t, url+"/values/a", "")
		if e := c.must(t); e.name != "ready" || e.data != "{}" || e.id == "" {
			t.Fatalf("of no row: %+v", e)
		}
		f.put(t, "a", number(1))
		first := c.must(t)
		if first.name != "row" || first.data != `{"value_id":"a","value":1.0}` {
			t.Fatalf("%+v", first)
		}
		f.put(t, "b", number(5))
		f.put(t, "a", number(2))
		if e := c.must(t); e.name != "row" || e.data != `{"value_id":"a","value":2.0}` {
			t.Fatalf("%+v", e)
		}
		f.put(t, "a", nil)
		gone := c.must(t)
		if gone.name != "deleted" || gone.data != `{"key":"a"}` {
			t.Fatalf("%+v", gone)
		}
		again := follow(t, url+"/values/a", first.id)
		for _, want := range []string{`row {"value_id":"a","value":2.0}`, `deleted {"key":"a"}`, "ready {}"} {
			if e := again.must(t); e.name+" "+e.data != want {
				t.Errorf("after a reconnect: %+v, want %s", e, want)
			}
		}
		// A page that begins where another one ended has no header to say it with.
		if e := follow(t, url+"/values/a?last-event-id="+gone.id, "").must(t); e.name != "ready" {
			t.Errorf("after a reconnect of a page: %+v", e)
		}
		f.put(t, "a", number(3))
		f.level(t)
		present := follow(t, url+"/values/a", "")
		if e := present.must(t); e.data != `{"value_id":"a","value":3.0}` || e.id != "snapshot" {
			t.Errorf("a row that is there: %+v", e)
		}
		// A client that was cut off in the middle of the rows cannot go on there.
		if e := follow(t, url+"/values/a", "snapshot").must(t); e.name != "reset" {
			t.Errorf("after half a snapshot: %+v", e)
		}
	})
}

// TestWatchChangesOnly leaves out what there is, and tells where it stands while nothing changes.
func TestWatchChangesOnly(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 1)
	f.put(t, "a", number(1))
	f.put(t, "b", number(2))
	view := f.restored(t)
	key := "a"
	for _, watch := range []views.Watch[string]{{}, {Prefix: []byte("a")}, {Key: &key}} {
		watch.ChangesOnly, watch.Beat = true, 10*time.Millisecond
		ctx, cancel := contextWithCancel(t)
		var told []string
		ready := ""
		changes := view.Watch(ctx, watch)
		for change := range changes.All() {
			switch change.Kind {
			case views.Ready:
				told, ready = append(told, "ready"), changes.Position()
				f.put(t, "a", number(3))
			case views.RowPresent:
				if told = append(told, change.Key); change.Key == "a" {
					f.put(t, "c", number(4)) // which only the first watches: the others are told by a beat that they are further
				}
			case views.Beat:
				if changes.Position() != ready && len(told) > 1 {
					cancel()
				}
			}
			if len(told) > 2 {
				cancel()
			}
		}
		if got := strings.Join(told, " "); got != "ready a" && got != "ready a c" {
			t.Errorf("told %s", got)
		}
		after := changes.Position()
		for change := range view.Watch(t.Context(), views.Watch[string]{Key: watch.Key, Prefix: watch.Prefix, ChangesOnly: true, After: "snapshot"}).All() {
			if change.Kind == views.Ready {
				break
			}
			if change.Kind != views.Reset {
				t.Errorf("after a reset: %+v", change)
			}
		}
		if after == ready {
			t.Error("the position has not moved on")
		}
		f.put(t, "a", number(1))
		f.level(t)
	}
}

// TestWatchGo follows a prefix in the program itself.
func TestWatchGo(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 2)
	f.put(t, "ab", number(1))
	f.put(t, "b", number(2))
	view := f.restored(t)
	ctx, cancel := contextWithCancel(t)
	var told []string
	changes := view.Watch(ctx, views.Watch[string]{Prefix: []byte("a")})
	for change := range changes.All() {
		switch change.Kind {
		case views.Ready:
			told = append(told, "ready")
			f.put(t, "ac", number(3))
			f.put(t, "bc", number(4))
			f.put(t, "ab", nil)
		case views.RowDeleted:
			told = append(told, "-"+change.Key)
		default:
			told = append(told, "+"+change.Key)
		}
		if len(told) == 4 {
			cancel()
		}
	}
	if got := strings.Join(told, " "); got != "+ab ready +ac -ab" && got != "+ab ready -ab +ac" {
		t.Errorf("told %s", got)
	}
	if !errors.Is(changes.Err(), ctx.Err()) {
		t.Errorf("ended with %v", changes.Err())
	}
	next := view.Watch(t.Context(), views.Watch[string]{Prefix: []byte("a"), After: changes.Position()})
	for change := range next.All() {
		if change.Kind != views.Ready {
			t.Errorf("after all was told: %+v", change)
		}
		break
	}
	if next.Err() != nil {
		t.Errorf("a loop that was left: %v", next.Err())
	}
	key := "a"
	for name, watch := range map[string]views.Watch[string]{
		"another prefix's position": {Prefix: []byte("b"), After: changes.Position()},
		"a made-up position":        {Prefix: []byte("a"), After: "AAAA"},
	} {
		wrong := view.Watch(t.Context(), watch)
		if !errors.Is(wrong.Err(), views.ErrWatchPosition) {
			t.Errorf("%s, before it is followed: %v", name, wrong.Err())
		}
		for range wrong.All() {
		}
		if !errors.Is(wrong.Err(), views.ErrWatchPosition) {
			t.Errorf("%s: %v", name, wrong.Err())
		}
	}
	both := view.Watch(t.Context(), views.Watch[string]{Key: &key, Prefix: []byte("a")})
	for range both.All() {
	}
	if both.Err() == nil {
		t.Error("a key and a prefix together are taken")
	}
	stopped := view.Watch(t.Context(), views.Watch[string]{})
	for change := range stopped.All() {
		if change.Kind == views.Ready {
			go f.stop()
		}
	}
	if !errors.Is(stopped.Err(), views.ErrStopped) {
		t.Errorf("when the view stops: %v", stopped.Err())
	}
}

// TestWatchRequests asks for streams that make no sense.
func TestWatchRequests(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 1)
	f.restored(t)
	config := calculatorHTTP
	config.MaxWatches = 1
	url := f.serve(t, config)
	for target, last := range map[string]string{
		"/values?limit=3": "", "/values?from=a": "", "/values?order=desc": "", "/values?count": "", "/values/a?prefix=b": "",
		"/values/a?key=b": "", "/values?prefix=a": "x", "/values/a": "AQ", "/values/b": strings.Repeat("A", 20<<10),
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/html, text/event-stream;q=0.9")
		request.Header.Set("Last-Event-ID", last)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s with %.20q: %s, %s", target, last, response.Status, response.Header.Get("Content-Type"))
		}
	}
	c := follow(t, url+"/values", "")
	if e := c.must(t); e.name != "ready" {
		t.Errorf("%+v", e)
	}
	if _, err := connect(t.Context(), url+"/values", ""); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("one stream too many: %v", err)
	}
	f.view.EndWatches()
	if _, err := c.next(); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("at the end: %v", err)
	}
	// What a client gave back others may have.
	eventually(t, "the stream's place is free", func() bool {
		again, err := connect(t.Context(), url+"/values", "")
		if err == nil {
			again.Close()
		}
		return err == nil
	})
}

// TestWatchHeartbeat sees a client that nothing concerns stay level: its id moves on with what others write.
func TestWatchHeartbeat(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 1)
	f.config.RecentBytes = 1 // nothing but the latest change is kept
	f.restored(t)
	config := calculatorHTTP
	config.Heartbeat = 5 * time.Millisecond
	url := f.serve(t, config)
	c := follow(t, url+"/values/a", "")
	e := c.must(t)
	for i := range 10 {
		f.put(t, "b", number(float64(i)))
	}
	for positions(t, e.id)[0] < 10 {
		var err error
		if e, err = c.next(); err != nil {
			t.Fatal(err)
		}
		if e.name != "" {
			t.Errorf("nothing concerns it: %+v", e)
		}
	}
	if e := follow(t, url+"/values/a", e.id).must(t); e.name != "ready" {
		t.Errorf("after a reconnect: %+v", e)
	}
}
