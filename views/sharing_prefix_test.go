package views_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/views"
)

// rowInstance is an instance of a shared view of rows.
type rowInstance struct {
	name    string
	url     string
	sharing *views.Sharing
	view    *views.View[orderRow, int64]
	stop    func()
}

// share runs instances that share the view out, until the test ends, and waits until all partitions have an owner.
func (f *rowFixture) share(t testing.TB, count, standbys int) (instances []*rowInstance) {
	t.Helper()
	group := f.broker.Name(t)
	for n := range count {
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		i := &rowInstance{name: fmt.Sprint("instance-", n), url: server.URL}
		config := f.config
		var err error
		i.sharing, err = views.NewSharing(views.SharingConfig{Group: group, URL: i.url, Instance: i.name, Standbys: standbys, Log: config.Log, Logger: config.Logger})
		if err != nil {
			t.Fatal(err)
		}
		config.Dir, config.Sharing = filepath.Join(t.TempDir(), i.name), i.sharing
		if i.view, err = views.New(config); err != nil {
			t.Fatal(err)
		}
		handler, err := i.view.Handler(views.HTTP[orderRow, int64]{Path: "/orders", MaxRows: 10_000, Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle("/orders", handler)
		mux.Handle("/orders/", handler)
		mux.Handle(i.sharing.Path(), i.sharing)
		ctx, cancel := contextWithCancel(t)
		done := make(chan error, 1)
		go func() { done <- i.view.Run(ctx) }()
		stopped := false
		i.stop = func() {
			if stopped {
				return
			}
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("running %s: %v", i.name, err)
			}
			server.CloseClientConnections()
			server.Close()
		}
		t.Cleanup(i.stop)
		instances = append(instances, i)
	}
	for _, i := range instances {
		eventually(t, "the partitions are shared out", func() bool {
			state := i.state(t)
			for _, p := range state.Partitions {
				if len(p.Warming) > 0 || (p.Here != "none" && !p.Ready) || len(p.Standbys) != standbys {
					return false
				}
			}
			return len(state.Instances) == count
		})
	}
	return instances
}

func (i *rowInstance) state(t testing.TB) (state sharingState) {
	t.Helper()
	response, err := client.Get(i.url + i.sharing.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	return state
}

func (i *rowInstance) get(t testing.TB, query string) (*http.Response, string) {
	t.Helper()
	// All that is written is there.
	response, body := get(t, i.url+"/orders"+query, "Prefer", "wait=20", "Tidemill-Max-Staleness", "0")
	return response, string(body)
}

// count returns how many of the model's rows have a customer and, where it is given, a bucket.
func (f *rowFixture) count(customer string, bucket ...string) (count int) {
	for row := range f.rows {
		if row.Partition == customer && (len(bucket) == 0 || row.Sort.First == bucket[0]) {
			count++
		}
	}
	return count
}

// A prefix that holds all of what decides a key's partition is answered by that partition's owner alone, rows and counts;
// what is on several partitions comes from all of them. Kept counts are used in both.
func TestSharingPrefix(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := newRowFixture(t, kafkatest.Embedded(t))
	f.change(t, rand.New(rand.NewPCG(seed, 0)), 2000)
	instances := f.share(t, 3, 0)
	for _, customer := range []string{"alice", "al", "dave"} {
		owner := ""
		for _, i := range instances {
			for query, want := range map[string]int{
				"?prefix=" + customer:                   f.count(customer),
				"?count&prefix=" + customer:             f.count(customer),
				"?count&prefix=" + customer + "/cheap":  f.count(customer, "cheap"),
				"?prefix=" + customer + "/dear":         f.count(customer, "dear"),
				"?partial&prefix=" + customer + "/dear": f.count(customer, "dear"),
			} {
				response, body := i.get(t, query)
				var answered struct {
					Items []json.RawMessage
					Count int
				}
				if err := json.Unmarshal([]byte(body), &answered); err != nil || response.StatusCode != http.StatusOK {
					t.Fatalf("%s answers %s with %d: %s", i.name, query, response.StatusCode, body)
				}
				if got := max(answered.Count, len(answered.Items)); got != want {
					t.Fatalf("%s answers %s with %d rows, want %d", i.name, query, got, want)
				}
				if positions := response.Header.Get("Tidemill-Position"); strings.Contains(positions, ",") ||
					!strings.HasPrefix(positions, fmt.Sprint(partition.ForKey([]byte(customer), rowPartitions))) {
					t.Fatalf("%s answers %s from the partitions %s", i.name, query, positions)
				}
				if strings.Contains(query, "partial") {
					continue // put together by the instance that was asked
				}
				if by := response.Header.Get("Tidemill-Instance"); owner == "" {
					owner = by
				} else if by != owner {
					t.Fatalf("%s has %s answered by %s, and before by %s", i.name, query, by, owner)
				}
			}
		}
	}
	for _, i := range instances {
		if _, body := i.get(t, "?count"); body != fmt.Sprintf(`{"count":%d}`, len(f.rows)) {
			t.Fatalf("%s counts %s, and there are %d rows", i.name, body, len(f.rows))
		}
	}
}

// A stream of a prefix's changes comes through any instance, and goes on at another one when its rows move; so do those of a
// partition, and of all rows.
func TestSharingStreams(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		f := newRowFixture(t, b)
		f.change(t, random, 500)
		instances := f.share(t, 2, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		for _, i := range instances {
			f.refusedStream(t, i)
			if got := f.partitionStreams(ctx, t, i); got != len(f.rows) {
				t.Fatalf("the partitions' streams of %s have %d rows, want %d", i.name, got, len(f.rows))
			}
			stream, err := connect(ctx, i.url+"/orders", "")
			if err != nil {
				t.Fatal(err)
			}
			if rows, _ := f.untilReady(t, stream); rows != len(f.rows) {
				t.Fatalf("the stream of all rows by %s has %d, want %d", i.name, rows, len(f.rows))
			}
			stream.Close()
		}
		// The owner goes, after it has told the rows through the other one.
		state := instances[0].state(t)
		number := partition.ForKey([]byte("alice"), rowPartitions)
		owner, other := instances[0], instances[1]
		if state.Partitions[number].Owner != owner.name {
			owner, other = other, owner
		}
		stream, err := connect(ctx, other.url+"/orders?prefix=alice", "")
		if err != nil {
			t.Fatal(err)
		}
		rows, last := f.untilReady(t, stream)
		if rows != f.count("alice") {
			t.Fatalf("the stream begins with %d rows, want %d", rows, f.count("alice"))
		}
		f.changeOne(t, 1)
		last = f.expect(t, stream, 1, last)
		if err := owner.sharing.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		owner.stop()
		for n := int64(2); n < 5; n++ {
			f.changeOne(t, n)
		}
		// What is conflated or told twice is told: the last value is what counts, and no reset says that it was told anew.
		for value := ""; value != "4"; {
			e, err := stream.next()
			if err != nil {
				stream.Close()
				eventually(t, "the stream can be opened again", func() bool {
					stream, err = connect(ctx, other.url+"/orders?prefix=alice", last)
					return err == nil
				})
				continue
			}
			if e.id != "" {
				last = e.id
			}
			if e.name == "reset" {
				t.Fatal("the stream began anew")
			}
			if e.name == "row" {
				_, value, _ = strings.Cut(strings.TrimSuffix(e.data, "}"), `"value":`)
			}
		}
		stream.Close()
	})
}

// changeOne writes a row of its own, with a value that no other has.
func (f *rowFixture) changeOne(t testing.TB, value int64) {
	t.Helper()
	row := orderRow{Partition: "alice", Sort: placed{First: "cheap", Second: 77, Third: "the one"}}
	f.rows[row] = value
	record := &kgo.Record{Topic: f.changelog, Key: f.encode(t, row), Partition: partition.ForKey([]byte("alice"), rowPartitions)}
	record.Value, _ = codecs.Int64().Append(nil, value)
	f.broker.ProduceTo(t, record)
}

// expect reads the change that changeOne wrote.
func (f *rowFixture) expect(t testing.TB, c *connection, value int64, last string) string {
	t.Helper()
	for {
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.id != "" {
			last = e.id
		}
		if e.name == "row" && strings.Contains(e.data, "the one") && strings.Contains(e.data, fmt.Sprint(value)) {
			return last
		}
	}
}

// untilReady reads the rows that a stream begins with.
func (f *rowFixture) untilReady(t testing.TB, c *connection) (rows int, last string) {
	t.Helper()
	for {
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		switch e.name {
		case "row":
			rows++
		case "ready":
			return rows, e.id
		}
	}
}

// refusedStream asks for partitions that are none.
func (f *rowFixture) refusedStream(t testing.TB, i *rowInstance) {
	t.Helper()
	const want = "urn:tidemill:malformed-query"
	for _, query := range []string{"?partition=5", "?partition=x"} {
		request, err := http.NewRequest(http.MethodGet, i.url+"/orders"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var problem struct{ Type, Detail string }
		err = json.NewDecoder(response.Body).Decode(&problem)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || problem.Type != want {
			t.Fatalf("%s answers a stream of %q with %d: %+v, %v", i.name, query, response.StatusCode, problem, err)
		}
	}
}

// partitionStreams reads the rows of all partitions' streams.
func (f *rowFixture) partitionStreams(ctx context.Context, t testing.TB, i *rowInstance) (rows int) {
	t.Helper()
	for number := range rowPartitions {
		stream, err := connect(ctx, fmt.Sprintf("%s/orders?partition=%d", i.url, number), "")
		if err != nil {
			t.Fatal(err)
		}
		some, _ := f.untilReady(t, stream)
		stream.Close()
		rows += some
	}
	return rows
}
