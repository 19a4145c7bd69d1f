package views_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestGet(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		f := newFixture(t, b, 2)
		f.put(t, "a", new(3.0))
		view := f.restored(t)
		if value, found, err := view.Get(t.Context(), "a"); err != nil || !found || value.Value != 3 {
			t.Errorf("a is %v, %v, %v", value, found, err)
		}
		if _, found, err := view.Get(t.Context(), "b"); err != nil || found {
			t.Errorf("b is %v, %v", found, err)
		}
		f.put(t, "a", nil)
		f.level(t)
		if _, found, err := view.Get(t.Context(), "a"); err != nil || found {
			t.Errorf("a, deleted, is %v, %v", found, err)
		}
		if restored, total := view.Progress(); restored != 1 || total != 1 {
			t.Errorf("restored %d of %d offsets, want 1 of 1", restored, total)
		}
		eventually(t, "the lag is 0", func() bool { return view.Lag() == 0 })
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := view.Get(t.Context(), "a"); !errors.Is(err, views.ErrNotReady) {
			t.Errorf("reading a stopped view: %v", err)
		}
	})
}

// The same queries against the view and against a sorted list.
func TestQueriesAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		random := rand.New(rand.NewPCG(seed, 0))
		f := newFixture(t, b, 4)
		model := map[string]float64{}
		var records []*kgo.Record
		for range 12_000 {
			key := strconv.FormatUint(random.Uint64N(1<<40), 36)[:1+random.IntN(5)]
			if random.IntN(8) == 0 {
				delete(model, key)
				records = append(records, f.record(key, nil))
				continue
			}
			value := float64(random.IntN(1000)) / 8
			model[key] = value
			records = append(records, f.record(key, &value))
		}
		for key := range 10_000 - min(len(model), 9000) {
			name := "key-" + strconv.Itoa(key)
			model[name] = float64(key)
			records = append(records, f.record(name, new(float64(key))))
		}
		b.Produce(t, records...)
		view := f.restored(t)
		f.level(t)
		keys := slices.Sorted(maps.Keys(model))
		for range 150 {
			checkQuery(t, view, randomQuery(random, keys), keys, model)
		}
	})
}

func randomQuery(random *rand.Rand, keys []string) views.Query[string] {
	query := views.Query[string]{Descending: random.IntN(2) == 0}
	key := func() *string {
		key := keys[random.IntN(len(keys))]
		if random.IntN(3) == 0 {
			key += "~"
		}
		return &key
	}
	switch random.IntN(4) {
	case 0:
		prefix := *key()
		query.Prefix = []byte(prefix[:random.IntN(len(prefix)+1)])
		if random.IntN(2) == 0 {
			query.From, query.To = key(), key()
		}
	case 1:
		query.From = key()
	case 2:
		query.To = key()
	case 3:
		query.From, query.To = key(), key()
	}
	return query
}

func checkQuery(t *testing.T, view *views.View[string, amount], query views.Query[string], keys []string, model map[string]float64) {
	t.Helper()
	var want []string
	for _, key := range keys {
		if strings.HasPrefix(key, string(query.Prefix)) && (query.From == nil || key >= *query.From) && (query.To == nil || key < *query.To) {
			want = append(want, key)
		}
	}
	if query.Descending {
		slices.Reverse(want)
	}
	query.Limit = 1 + len(want)/3 // pages
	var got []string
	for {
		rows := view.Query(t.Context(), query)
		for key, value := range rows.All() {
			if value.Value != model[key] {
				t.Fatalf("%q is %v, want %v", key, value.Value, model[key])
			}
			got = append(got, key)
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%+v: %v", query, err)
		}
		if query.Cursor = rows.Cursor(); query.Cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: %d rows, want %d", query, len(got), len(want))
	}
	if query.From == nil && query.To == nil {
		if count, err := view.Count(t.Context(), query.Prefix); err != nil || count != int64(len(want)) {
			t.Fatalf("counting %q: %d, %v; want %d", query.Prefix, count, err, len(want))
		}
	}
}

func TestCursorsBelongToTheirQuery(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 1)
	for _, key := range []string{"a1", "a2", "a3", "b1"} {
		f.put(t, key, new(1.0))
	}
	view := f.restored(t)
	rows := view.Query(t.Context(), views.Query[string]{Prefix: []byte("a"), Limit: 1})
	for range rows.All() {
	}
	cursor := rows.Cursor()
	if cursor == "" {
		t.Fatal("there is no cursor after the first of three rows")
	}
	for name, query := range map[string]views.Query[string]{
		"other prefix": {Prefix: []byte("b"), Cursor: cursor},
		"other order":  {Prefix: []byte("a"), Cursor: cursor, Descending: true},
		"no prefix":    {Cursor: cursor},
		"cut off":      {Prefix: []byte("a"), Cursor: cursor[:8]},
		"no base64":    {Prefix: []byte("a"), Cursor: "!" + cursor},
	} {
		rows := view.Query(t.Context(), query)
		for range rows.All() {
			t.Errorf("%s: there is a row", name)
		}
		if !errors.Is(rows.Err(), views.ErrCursor) {
			t.Errorf("%s: %v, want ErrCursor", name, rows.Err())
		}
	}
	rows = view.Query(t.Context(), views.Query[string]{Prefix: []byte("a"), Limit: 7, Cursor: cursor})
	count := 0
	for range rows.All() {
		count++
	}
	if rows.Err() != nil || count != 2 || rows.Cursor() != "" {
		t.Errorf("with another limit: %d rows, cursor %q, %v; want the other 2", count, rows.Cursor(), rows.Err())
	}
}

// A query that is left before its end goes on at its cursor.
func TestLeavingARowsLoop(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 3)
	for i := range 10 {
		f.put(t, "k"+strconv.Itoa(i), new(float64(i)))
	}
	view := f.restored(t)
	rows := view.All(t.Context())
	for key := range rows.All() {
		if key == "k3" {
			break
		}
	}
	var rest []string
	following := view.Query(t.Context(), views.Query[string]{Cursor: rows.Cursor()})
	for key := range following.All() {
		rest = append(rest, key)
	}
	if err := errors.Join(rows.Err(), following.Err()); err != nil || strings.Join(rest, " ") != "k4 k5 k6 k7 k8 k9" {
		t.Errorf("after k3 come %v, %v", rest, err)
	}
}

func TestBrokerRestarted(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, p *kafkatest.Process) {
		f := newFixture(t, p.Broker, 2)
		f.put(t, "a", new(1.0))
		view := f.restored(t)
		for round := range 1 {
			began := time.Now()
			p.Kill9(t)
			if _, found, err := view.Get(t.Context(), "a"); err != nil || !found {
				t.Errorf("without a broker, a is %v, %v", found, err)
			}
			p.Start(t)
			t.Logf("the broker was away for %v", time.Since(began))
			started := time.Now()
			want := float64(round + 2)
			f.put(t, "a", &want)
			eventually(t, "the new value is there", func() bool {
				value, _, err := view.Get(t.Context(), "a")
				return err == nil && value.Value == want
			})
			t.Logf("level again %v after the broker", time.Since(started))
		}
		for _, status := range view.Status() {
			if status.Rebuilds > 0 {
				t.Errorf("partition %d was rebuilt", status.Partition)
			}
		}
		// Starting while the broker is away waits for it.
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
		p.Kill9(t)
		view = f.run(t)
		p.Start(t)
		select {
		case <-view.Ready():
		case <-time.After(patience):
			t.Fatal("the view is not restored")
		}
	})
}

func TestNothingIsLeftRunning(t *testing.T) {
	b := kafkatest.Embedded(t)
	f := newFixture(t, b, 4)
	f.put(t, "a", new(1.0))
	f.config.Metrics = prometheus.NewRegistry()
	runtime.GC()
	before := runtime.NumGoroutine()
	for range 3 {
		f.restored(t)
		if err := f.stop(); err != nil {
			t.Fatal(err)
		}
	}
	// Those of the connections end a moment after it, on the broker's side.
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
}

func TestConfig(t *testing.T) {
	_, err := views.New(views.Config[string, amount]{CacheBytes: -1, MaxAge: -1, Processor: views.Processor{Group: "g"}})
	if !errors.Is(err, views.ErrConfig) {
		t.Fatalf("the empty configuration: %v, want ErrConfig", err)
	}
	for _, field := range []string{"Name", "Topic", "Dir", "KeyCodec", "ValueCodec", "Log", "CacheBytes", "MaxAge", "Sources"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	b := kafkatest.Embedded(t)
	f := newFixture(t, b, 1)
	f.restored(t)
	if err := f.view.Run(t.Context()); !errors.Is(err, views.ErrRunning) {
		t.Errorf("running twice: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	other, err := views.New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("running in a directory in use: %v", err)
	}
	missing := f.config
	missing.Changelog, missing.Dir = "no-such-topic", t.TempDir()
	if other, err = views.New(missing); err != nil {
		t.Fatal(err)
	}
	if err := other.Run(ctx); !errors.Is(err, views.ErrNoChangelog) {
		t.Errorf("running on a topic that does not exist: %v", err)
	}
}

// A record that is no encoding of the view's types spoils the answers that need it, and nothing else.
func TestUndecodableRecords(t *testing.T) {
	b := kafkatest.Embedded(t)
	f := newFixture(t, b, 1)
	f.put(t, "good", new(1.0))
	b.Produce(t, &kgo.Record{Topic: f.changelog, Key: []byte("bad"), Value: []byte("{")})
	view := f.restored(t)
	if _, _, err := view.Get(t.Context(), "bad"); !errors.Is(err, views.ErrDecode) {
		t.Errorf("bad: %v, want ErrDecode", err)
	}
	if _, found, err := view.Get(t.Context(), "good"); err != nil || !found {
		t.Errorf("good: %v, %v", found, err)
	}
	rows := view.All(t.Context())
	for range rows.All() {
	}
	if !errors.Is(rows.Err(), views.ErrDecode) {
		t.Errorf("all rows: %v, want ErrDecode", rows.Err())
	}
}

func TestMetrics(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 2)
	registry := prometheus.NewRegistry()
	f.config.Metrics = registry
	f.put(t, "a", new(1.0))
	f.restored(t)
	ask(f.handler(t), "/values/a")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			got[family.GetName()] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"tidemill_view_records_applied_total": 1, "tidemill_view_position": 1, "tidemill_view_lag": 0,
		"tidemill_view_restored_offsets": 1, "tidemill_view_restore_offsets": 1, "tidemill_view_rebuilds_total": 0,
		"tidemill_view_ready": 2, "tidemill_view_http_request_duration_seconds": 1, "tidemill_view_token_wait_seconds": 0,
	} {
		if value, found := got[name]; !found || value != want {
			t.Errorf("%s is %v (there: %v), want %v", name, value, found, want)
		}
	}
	if _, found := got["tidemill_view_store_bytes"]; !found {
		t.Error("there is no tidemill_view_store_bytes")
	}
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	if families, err = registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("after the stop there are %d metrics, %v", len(families), err)
	}
}

func ExampleView_Query() {
	view, err := views.New(views.Config[string, float64]{
		Name:       "values",
		Changelog:  "calculator-values-changelog",
		KeyCodec:   codecs.String(),
		ValueCodec: codecs.JSON[float64](),
		Dir:        "data/view",
		Log:        views.LogConfig{Brokers: []string{"localhost:9092"}},
	})
	if err != nil {
		slog.Error("making the view", "error", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- view.Run(ctx) }()
	<-view.Ready()

	rows := view.Query(ctx, views.Query[string]{Prefix: []byte("2026-"), Limit: 100})
	for key, value := range rows.All() {
		slog.Info("row", "key", key, "value", value)
	}
	if err := rows.Err(); err != nil {
		slog.Error("reading", "error", err)
	}
	cancel()
	if err := <-done; err != nil {
		slog.Error("running the view", "error", err)
	}
}
