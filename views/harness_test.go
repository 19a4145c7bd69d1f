package views_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/views"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(childVariable); config != "" {
		if err := child(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kafkatest.Main(m)
}

const patience = 30 * time.Second

// amount is the value of the views under test.
type amount struct {
	Value float64 `json:"value"`
}

// calculatorHTTP renders as the calculator does.
var calculatorHTTP = views.HTTP[string, amount]{
	Path: "/values",
	Render: func(dst []byte, key string, value amount) ([]byte, error) {
		dst = append(dst, `{"value_id":`...)
		dst = strconv.AppendQuote(dst, key)
		dst = append(dst, `,"value":`...)
		text := strconv.FormatFloat(value.Value, 'f', -1, 64)
		if value.Value == float64(int64(value.Value)) {
			text = strconv.FormatFloat(value.Value, 'f', 1, 64)
		}
		return append(append(dst, text...), '}'), nil
	},
}

// fixture is a changelog with a view of it.
type fixture struct {
	broker    kafkatest.Broker
	changelog string
	commands  string
	group     string
	config    views.Config[string, amount]
	view      *views.View[string, amount]
	stop      func() error
}

func newFixture(t testing.TB, b kafkatest.Broker, partitions int32) *fixture {
	t.Helper()
	f := &fixture{broker: b, changelog: b.Name(t), commands: b.Name(t), group: b.Name(t)}
	b.CreateTopic(t, f.changelog, partitions, map[string]string{"cleanup.policy": "compact"})
	b.CreateTopic(t, f.commands, partitions, nil)
	f.config = views.Config[string, amount]{
		Name: "values", Changelog: f.changelog, KeyCodec: codecs.String(), ValueCodec: codecs.JSON[amount](),
		Dir: filepath.Join(t.TempDir(), "view"), Log: views.LogConfig{Brokers: b.Brokers()},
		Processor: views.Processor{Group: f.group, Topics: []string{f.commands}},
		Logger:    slog.New(slog.DiscardHandler),
	}
	return f
}

// open makes the view without running it.
func (f *fixture) open(t testing.TB) *views.View[string, amount] {
	t.Helper()
	view, err := views.New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.view = view
	return view
}

// run makes the view and runs it until the test ends or stop is called.
func (f *fixture) run(t testing.TB) *views.View[string, amount] {
	t.Helper()
	view := f.open(t)
	f.stop = runtest.Start(t, "view", patience, view.Run).Stop
	return view
}

// restored runs the view and waits until it is restored.
func (f *fixture) restored(t testing.TB) *views.View[string, amount] {
	t.Helper()
	view := f.run(t)
	select {
	case <-view.Ready():
	case <-time.After(patience):
		t.Fatalf("the view is not restored: %+v", view.Status())
	}
	return view
}

// level waits until the view has all committed records.
func (f *fixture) level(t testing.TB) {
	t.Helper()
	for _, status := range f.view.Status() {
		end := f.broker.End(t, f.changelog, status.Partition, true)
		eventually(t, "the view is level", func() bool { return f.view.Position(status.Partition) >= end })
	}
}

// put writes one value to the changelog; nil deletes it.
func (f *fixture) put(t testing.TB, key string, value *float64) {
	t.Helper()
	f.broker.Produce(t, f.record(key, value))
}

func (f *fixture) record(key string, value *float64) *kgo.Record {
	record := &kgo.Record{Topic: f.changelog, Key: []byte(key)}
	if value != nil {
		record.Value = fmt.Appendf(nil, `{"value":%s}`, strconv.FormatFloat(*value, 'g', -1, 64))
	}
	return record
}

// commit commits an offset as the processor's group would.
func (f *fixture) commit(t testing.TB, partition int32, offset int64) {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9) // later ones want topic ids
	client := f.broker.Client(t, kgo.MaxVersions(versions))
	defer client.Close()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = f.commands, []kmsg.OffsetCommitRequestTopicPartition{p}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation, request.Topics = f.group, -1, []kmsg.OffsetCommitRequestTopic{topic}
	response, err := request.RequestWith(context.Background(), client)
	if err != nil {
		t.Fatal(err)
	}
	if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("committing an offset: error code %d", code)
	}
}

// handler returns the view's handler.
func (f *fixture) handler(t testing.TB) http.Handler {
	t.Helper()
	handler, err := f.view.Handler(calculatorHTTP)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// ask sends a GET with the given headers, as name and value in turn.
func ask(handler http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	return askWith(http.MethodGet, handler, target, headers...)
}

func askWith(method string, handler http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// page is the body of a list.
type page struct {
	Items []struct {
		ID    string  `json:"value_id"`
		Value float64 `json:"value"`
	} `json:"items"`
	Next string `json:"next"`
}

func decode[T any](t testing.TB, r *httptest.ResponseRecorder) (decoded T) {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &decoded); err != nil {
		t.Fatalf("status %d, body %s: %v", r.Code, data, err)
	}
	return decoded
}

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// contextWithCancel is a context that outlives the test's own, for runs that a test ends itself.
func contextWithCancel(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx, cancel
}
