package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/webtest"
)

var valueCodec = codecs.JSON[calculator.Value]()

// eachBroker runs a test against the embedded broker in a process of its own and against a real Kafka, each new.
func eachBroker(t *testing.T, f func(t *testing.T, brokers string)) {
	t.Run(kafkatest.KindEmbedded, func(t *testing.T) {
		addr, _ := launchBroker(t)
		f(t, addr)
	})
	t.Run(kafkatest.KindReal, func(t *testing.T) {
		f(t, kafkatest.RealOwn(t, kafkatest.Options{}).Addr())
	})
}

// system is the calculator in four processes.
type system struct {
	commander, processor, view, subscriptions *process
}

// separate starts the four components, all at once: they find each other.
func separate(t *testing.T, brokers string, processorFlags ...string) *system {
	t.Helper()
	s := &system{processor: launchProcessor(t, brokers, "processor", processorFlags...)}
	s.view = launch(t, "calculator view", "view", "--brokers", brokers, "--data", dataDir(t))
	s.subscriptions = launch(t, "calculator subscriptions", "subscriptions", "--brokers", brokers, "--data", dataDir(t))
	s.commander = launch(t, "calculator commander", "commander", "--brokers", brokers, "--data", dataDir(t),
		"--calculator-view-url", s.view.url, "--calculator-subscriptions-url", s.subscriptions.url)
	for _, p := range []*process{s.processor, s.view, s.subscriptions, s.commander} {
		p.awaitReady()
	}
	return s
}

func launchProcessor(t *testing.T, brokers, name string, flags ...string) *process {
	t.Helper()
	return launch(t, "calculator processor", name, append([]string{"--brokers", brokers, "--data", dataDir(t)}, flags...)...)
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
}

// webClient is shared by all requests: as many connections as there are clients.
var webClient = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// ask sends a request; headers come as name and value in turn.
func ask(ctx context.Context, method, url, body string, headers ...string) (answer, error) {
	got, err := webtest.Ask(ctx, webClient, method, url, body, headers...)
	return answer{got.Status, got.Header, got.Body}, err
}

// must is ask for requests that get an answer.
func must(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	got, err := ask(t.Context(), method, url, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return got
}

// values reads all values of a view.
func values(t *testing.T, url string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for cursor := ""; ; {
		target := url + "/values?limit=1000"
		if cursor != "" {
			target += "&cursor=" + cursor
		}
		got := must(t, http.MethodGet, target, "")
		var page struct {
			Items []struct {
				ID    string  `json:"value_id"`
				Value float64 `json:"value"`
			} `json:"items"`
			Next string `json:"next"`
		}
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != http.StatusOK {
			t.Fatalf("listing values: %d, %s: %v", got.status, got.body, err)
		}
		for _, item := range page.Items {
			all[item.ID] = item.Value
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// checkView waits until a view shows what the checker found.
func checkView(t *testing.T, url string, found report) {
	t.Helper()
	var got map[string]float64
	deadline := time.Now().Add(patience)
	for {
		got = values(t, url)
		different := differences(got, found.values)
		if len(different) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the view shows %d values, not those %d of the model: %v", len(got), len(found.values), different)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// producer writes commands straight to the topic, as any program could.
func producer(t *testing.T, brokers string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic(calculator.Commands.Name()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// record encodes a command.
func record(t *testing.T, c calculator.Command) *kgo.Record {
	t.Helper()
	body, err := calculator.Commands.Value().Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Topic: calculator.Commands.Name(), Key: []byte(c.Data.ValueID), Value: body, Timestamp: time.UnixMilli(c.Timestamp)}
}

// produce writes n random commands over a time, in small batches, and waits until the log has all of them.
func produce(t *testing.T, client *kgo.Client, from *calculatortest.Random, n int, over time.Duration) {
	t.Helper()
	const batch = 20
	began := time.Now()
	for done := 0; done < n; done += batch {
		var records []*kgo.Record
		for range min(batch, n-done) {
			records = append(records, record(t, from.Next()))
		}
		for _, r := range records {
			client.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("a command is not written: %v", err)
				}
			})
		}
		if wait := time.Until(began.Add(over * time.Duration(done+batch) / time.Duration(n))); wait > 0 {
			time.Sleep(wait)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.Flush(ctx); err != nil {
		t.Fatalf("writing commands: %v", err)
	}
}

// requestOf returns a command as an HTTP request. A command that HTTP cannot carry is given as false.
func requestOf(c calculator.Command) (method, path, body string, ok bool) {
	if c.Data.Value.IsZero() {
		return "", "", "", false
	}
	var buffer bytes.Buffer
	switch {
	case c.Action == "CreateValue":
		fmt.Fprintf(&buffer, `{"value":%s,"value_id":%q}`, c.Data.Value, c.Data.ValueID)
		return http.MethodPost, "/values", buffer.String(), true
	case c.Action == "UpdateValue" && (c.Data.Operation == "ADD" || c.Data.Operation == "MULTIPLY"):
		fmt.Fprintf(&buffer, `{"operation":%q,"value":%s}`, c.Data.Operation, c.Data.Value)
		return http.MethodPut, "/values/" + c.Data.ValueID, buffer.String(), true
	}
	return "", "", "", false
}

// told checks that what a client was told of a command is true.
func told(t *testing.T, found report, got answer) {
	t.Helper()
	id := got.header.Get("Tidemill-Command-Id")
	verdict, known := found.verdicts[id]
	switch got.status {
	case http.StatusAccepted:
		if !known {
			t.Errorf("command %s was acknowledged and is not in the log", id)
		}
	case http.StatusOK, http.StatusCreated:
		if verdict.Event == nil {
			t.Errorf("command %s was told to be accepted, and it is %+v", id, verdict)
		}
	case http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		want := map[string]int{"not-found": http.StatusNotFound, "conflict": http.StatusConflict, "invalid": http.StatusUnprocessableEntity}[string(verdict.Kind)]
		if got.status != want {
			t.Errorf("command %s was told %d, %s; it is %+v", id, got.status, got.body, verdict)
		}
	default:
		t.Errorf("command %s was answered %d, %s", id, got.status, got.body)
	}
}
