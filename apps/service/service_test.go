package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

const patience = 45 * time.Second

// part is a component that tells when it is closed.
type part struct {
	service.Component
	name   string
	closed *[]string
}

func (p part) Close() error {
	*p.closed = append(*p.closed, p.name)
	return nil
}

// If a component cannot be made, those before it are closed, and nothing is made after it.
func TestAllClosesWhatIsMade(t *testing.T) {
	var closed []string
	broken := errors.New("broken")
	made := func(name string) func() (service.Component, error) {
		return func() (service.Component, error) { return part{name: name, closed: &closed}, nil }
	}
	got, err := service.All(made("first"), made("second"), func() (service.Component, error) { return nil, broken }, made("never"))
	if !errors.Is(err, broken) || got != nil || !slices.Equal(closed, []string{"first", "second"}) {
		t.Errorf("made %v and %v, closed %v", got, err, closed)
	}
	closed = nil
	if got, err := service.All(made("first"), made("second")); err != nil || len(got) != 2 || len(closed) != 0 {
		t.Errorf("made %v and %v, closed %v", got, err, closed)
	}
}

// What runs together ends together, when one of them does.
func TestTogether(t *testing.T) {
	broken := errors.New("broken")
	until := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	if err := service.Together(t.Context(), until, func(context.Context) error { return broken }, until); !errors.Is(err, broken) {
		t.Errorf("one fails, and together it is %v", err)
	}
	if err := service.Together(t.Context(), until, func(context.Context) error { return nil }); err != nil {
		t.Errorf("one ends, and together it is %v", err)
	}
}

// Everything that is wrong is told at once, by any component.
func TestConfigTellsAllThatIsWrong(t *testing.T) {
	built, _ := counted(t, "counted")
	_, err := service.NewProcessor(service.Config{Kafka: kafka.Config{Brokers: []string{"nowhere"}}}, "processor", built)
	if !errors.Is(err, service.ErrConfig) || !strings.Contains(err.Error(), `"nowhere" is not host:port`) || !strings.Contains(err.Error(), "no directory for state") {
		t.Errorf("the error is %v", err)
	}
}

func TestField(t *testing.T) {
	words := service.Field(codecs.JSON[[]string](), func(all []string) string { return strings.Join(all, " ") })
	for text, want := range map[string]string{`["a","b"]`: "a b", `[]`: "", `["a"`: ""} {
		if got := words([]byte(text)); got != want {
			t.Errorf("%s gives %q, want %q", text, got, want)
		}
	}
}

// counted is an application with a table of how often words were written.
func counted(t *testing.T, name string) (*topology.Topology, topology.Table[string, int64]) {
	t.Helper()
	b := topology.New(name)
	table := b.From(topology.NewTopic(name+"-words", codecs.String(), codecs.String())).GroupByKey().Count("words")
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built, table
}

// A processor and the view of its table make the topics that they miss, become ready, show what is written, and end.
func TestProcessorAndViews(t *testing.T) {
	b := kafkatest.Embedded(t)
	built, table := counted(t, b.Name(t))
	config := service.Config{
		Kafka: kafka.Config{Brokers: b.Brokers()}, Dir: t.TempDir(),
		Processor: processors.Config{CreateTopics: true, Partitions: 2, Replication: 1},
	}
	processor, err := service.NewProcessor(config.Named("processor"), "word processor", built)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := service.NewViews(config.Named("view"), "view", built, "")
	if err != nil {
		t.Fatal(err)
	}
	words, err := shown.Open("", table, views.Processor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shown.Open("", table.MapValues(func(n int64) int64 { return n }), views.Processor{}); !errors.Is(err, service.ErrConfig) {
		t.Errorf("a table without a store: %v", err)
	}
	components := []service.Component{processor, shown}
	for _, component := range components {
		runtest.Start(t, component.Name(), patience, component.Run)
	}
	await(t, "they are ready", func() error { return errors.Join(processor.Ready(), shown.Ready()) })
	word := kgo.Record{Topic: built.Application() + "-words", Key: []byte("tea"), Value: []byte("x")}
	b.Produce(t, &word, new(word))
	await(t, "the word is counted", func() error {
		count, _, err := words.Get(t.Context(), "tea")
		if err == nil && count != 2 {
			err = errors.New("not yet")
		}
		return err
	})
	for _, component := range components {
		component.Stopping()
	}
}

// An instance with a full copy beside others that share the partitions out says so.
func TestFullCopyBesideShared(t *testing.T) {
	b := kafkatest.Embedded(t)
	built, table := counted(t, b.Name(t))
	run := func(url string) (shown *service.Views, logged func() string) {
		t.Helper()
		out := &logs{}
		config := service.Config{
			Kafka: kafka.Config{Brokers: b.Brokers()}, Dir: t.TempDir(), URL: url, Logger: slog.New(slog.NewTextHandler(out, nil)),
			Processor: processors.Config{CreateTopics: true, Partitions: 2, Replication: 1, InstanceID: "at-" + strconv.Itoa(len(url))},
		}
		shown, err := service.NewViews(config, "view", built, built.Application()+"-views")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := shown.Open("", table, views.Processor{}); err != nil {
			t.Fatal(err)
		}
		runtest.Start(t, "view "+url, patience, shown.Run)
		return shown, out.String
	}
	const warning = "other instances share the partitions out"
	_, alone := run("")
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	shared, _ := run(server.URL)
	shared.Mount(mux)
	await(t, "the partitions are shared out", func() error {
		others, err := views.SharingInstances(t.Context(), kafka.Config{Brokers: b.Brokers()}, built.Application()+"-views")
		if err == nil && len(others) != 1 {
			err = fmt.Errorf("by %v", others)
		}
		return err
	})
	if strings.Contains(alone(), warning) {
		t.Errorf("the first one warns of others: %s", alone())
	}
	_, beside := run("")
	await(t, "the full copy warns", func() error {
		if !strings.Contains(beside(), warning) {
			return errors.New(beside())
		}
		return nil
	})
}

// logs are what a logger has written.
type logs struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (l *logs) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

// String returns all of it.
func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await polls until nothing is wrong.
func await(t *testing.T, what string, wrong func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s: %v", patience, what, err)
		}
	}
}
