package views_test

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/views"
)

type (
	placed   = codecs.Tuple3[string, int64, string] // bucket, time, order
	orderRow = codecs.Row[string, placed]
	groupRow = codecs.Row[string, string]
)

var (
	orderRows = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple3(codecs.OrderedString(), codecs.Descending(codecs.OrderedInt64()), codecs.OrderedString()))
	groupRows = codecs.Rows(codecs.OrderedString(), codecs.OrderedString())
)

// rowFixture is a changelog of rows with a view of it, and what the rows are.
type rowFixture struct {
	broker    kafkatest.Broker
	config    views.Config[orderRow, int64]
	rows      map[orderRow]int64
	changelog string
}

const rowPartitions = 5

func newRowFixture(t testing.TB, b kafkatest.Broker) *rowFixture {
	t.Helper()
	f := &rowFixture{broker: b, rows: map[orderRow]int64{}, changelog: b.Name(t)}
	b.CreateTopic(t, f.changelog, rowPartitions, map[string]string{"cleanup.policy": "compact"})
	f.config = views.Config[orderRow, int64]{
		Name: "orders", Changelog: f.changelog, KeyCodec: orderRows, ValueCodec: codecs.Int64(),
		Dir: filepath.Join(t.TempDir(), "view"), Log: views.LogConfig{Brokers: b.Brokers()}, Logger: slog.New(slog.DiscardHandler),
		Counts: []codecs.Prefixer{orderRows.Partition(), groupRows},
	}
	return f
}

// change writes random changes to the changelog, and to the model.
func (f *rowFixture) change(t testing.TB, random *rand.Rand, count int) {
	t.Helper()
	var records []*kgo.Record
	for range count {
		row := orderRow{
			Partition: []string{"", "alice", "al", "bob\x00", "carol/~", "dave"}[random.IntN(6)],
			Sort:      placed{First: []string{"cheap", "dear", ""}[random.IntN(3)], Second: random.Int64N(5) - 2, Third: fmt.Sprint(random.IntN(5))},
		}
		record := &kgo.Record{Topic: f.changelog, Key: f.encode(t, row), Partition: partition.ForKey([]byte(row.Partition), rowPartitions)}
		if random.IntN(3) > 0 {
			f.rows[row] = random.Int64()
			record.Value, _ = codecs.Int64().Append(nil, f.rows[row])
		} else {
			delete(f.rows, row)
		}
		records = append(records, record)
	}
	f.broker.ProduceTo(t, records...)
}

func (f *rowFixture) encode(t testing.TB, row orderRow) []byte {
	t.Helper()
	key, err := orderRows.Append(nil, row)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// run runs the view until the function it returns is called, level with the changelog.
func (f *rowFixture) run(t testing.TB) (view *views.View[orderRow, int64], stop func()) {
	t.Helper()
	view, err := views.New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	running := runtest.Start(t, "view", patience, view.Run)
	f.level(t, view)
	return view, func() { _ = running.Stop() } // the test's end reports its error
}

func (f *rowFixture) level(t testing.TB, view *views.View[orderRow, int64]) {
	t.Helper()
	select {
	case <-view.Ready():
	case <-time.After(patience):
		t.Fatalf("the view is not restored: %+v", view.Status())
	}
	for number := range int32(rowPartitions) {
		end := f.broker.End(t, f.changelog, number, true)
		eventually(t, "the view is level", func() bool { return view.Position(number) >= end })
	}
}

// sorted returns the model's rows in the order of their keys, those that keep keeps.
func (f *rowFixture) sorted(keep func(orderRow) bool) (rows []orderRow) {
	for row := range f.rows {
		if keep(row) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b orderRow) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Sort.First, b.Sort.First), cmp.Compare(b.Sort.Second, a.Sort.Second),
			cmp.Compare(a.Sort.Third, b.Sort.Third))
	})
	return rows
}

// prefixes are what rows are selected by, and how the model does it.
func prefixes(t testing.TB, customer, bucket string) map[string]func(orderRow) bool {
	t.Helper()
	ofCustomer, err := orderRows.Partition().Append(nil, customer)
	ofBucket, err2 := groupRows.Append(nil, groupRow{Partition: customer, Sort: bucket})
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return map[string]func(orderRow) bool{
		"":                 func(orderRow) bool { return true },
		string(ofCustomer): func(row orderRow) bool { return row.Partition == customer },
		string(ofBucket):   func(row orderRow) bool { return row.Partition == customer && row.Sort.First == bucket },
		customer:           func(row orderRow) bool { return strings.HasPrefix(row.Partition+"\x00", customer) }, // no part's end: over partitions
	}
}

// check compares all that can be asked with the model.
func (f *rowFixture) check(t testing.TB, view *views.View[orderRow, int64], random *rand.Rand) {
	t.Helper()
	for _, customer := range []string{"", "al", "alice", "bob", "carol/~", "nobody"} {
		for prefix, keep := range prefixes(t, customer, "cheap") {
			want := f.sorted(keep)
			if count, err := view.Count(t.Context(), []byte(prefix)); err != nil || count != int64(len(want)) {
				t.Errorf("count of %q: %d, %v, want %d", prefix, count, err, len(want))
			}
			f.compare(t, view, views.Query[orderRow]{Prefix: []byte(prefix)}, want, 1+random.IntN(7))
			if len(want) > 0 && prefix != "" {
				from, to := want[random.IntN(len(want))], want[random.IntN(len(want))]
				within := f.sorted(func(row orderRow) bool {
					return keep(row) && slices.Compare(f.encode(t, row), f.encode(t, from)) >= 0 && slices.Compare(f.encode(t, row), f.encode(t, to)) < 0
				})
				f.compare(t, view, views.Query[orderRow]{Prefix: []byte(prefix), From: &from, To: &to}, within, 1+random.IntN(7))
			}
		}
	}
}

// compare pages through a query both ways.
func (f *rowFixture) compare(t testing.TB, view *views.View[orderRow, int64], query views.Query[orderRow], want []orderRow, limit int) {
	t.Helper()
	for _, descending := range []bool{false, true} {
		query.Descending, query.Limit, query.Cursor = descending, limit, ""
		var got []orderRow
		for {
			rows := view.Query(t.Context(), query)
			for row, value := range rows.All() {
				got = append(got, row)
				if value != f.rows[row] {
					t.Errorf("%+v is %d, want %d", row, value, f.rows[row])
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatalf("%+v: %v", query, err)
			}
			if query.Cursor = rows.Cursor(); query.Cursor == "" {
				break
			}
		}
		if descending {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("query %q from %v to %v, descending %v, gives %d rows\n%v, want %d\n%v", query.Prefix, query.From, query.To, descending, len(got), got, len(want), want)
		}
	}
}

// TestRowsAgainstModel compares reads and counts with a map, while rows come and go, over restarts, and with other kinds of
// prefixes counted than before.
func TestRowsAgainstModel(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		f := newRowFixture(t, b)
		all := f.config.Counts
		for round, counts := range [][]codecs.Prefixer{all, all, all[1:], nil, all} {
			f.config.Counts = counts
			f.change(t, random, 200)
			view, stop := f.run(t)
			f.check(t, view, random)
			for range 3 {
				f.change(t, random, 50)
				f.level(t, view)
			}
			f.check(t, view, random)
			if t.Failed() {
				t.Fatalf("in round %d", round)
			}
			stop()
		}
	})
}

// TestRowsOverHTTP: keys and prefixes as texts, and positions of the one partition that was read.
func TestRowsOverHTTP(t *testing.T) {
	f := newRowFixture(t, kafkatest.Embedded(t))
	row := orderRow{Partition: "carol/~", Sort: placed{First: "cheap", Second: 7, Third: "o1"}}
	other := orderRow{Partition: "dave", Sort: placed{First: "cheap", Second: 7, Third: "o2"}}
	for i, row := range []orderRow{row, other} {
		value, _ := codecs.Int64().Append(nil, int64(i+1))
		f.broker.ProduceTo(t, &kgo.Record{Topic: f.changelog, Key: f.encode(t, row), Value: value, Partition: partition.ForKey([]byte(row.Partition), rowPartitions)})
	}
	view, _ := f.run(t)
	handler, err := view.Handler(views.HTTP[orderRow, int64]{Path: "/orders"})
	if err != nil {
		t.Fatal(err)
	}
	rendered := `{"key":{"partition":"carol/~","sort":{"first":"cheap","second":7,"third":"o1"}},"value":1}`
	for target, want := range map[string]string{
		"/orders/" + url.PathEscape("carol~1~0") + "/cheap/7/o1":             rendered,
		"/orders?key=" + url.QueryEscape("carol~1~0/cheap/7/o1"):             rendered,
		"/orders?prefix=" + url.QueryEscape("carol~1~0"):                     `{"items":[` + rendered + `]}`,
		"/orders?prefix=" + url.QueryEscape("carol~1~0/cheap"):               `{"items":[` + rendered + `]}`,
		"/orders?prefix=" + url.QueryEscape("carol~1~0/cheap/6"):             `{"items":[]}`,
		"/orders?prefix=" + url.QueryEscape("carol~1~0/cheap") + "&count":    `{"count":1}`,
		"/orders?prefix=carol&count":                                         `{"count":0}`,
		"/orders?count":                                                      `{"count":2}`,
		"/orders?prefix=dave&from=" + url.QueryEscape("dave/cheap/6/"):       `{"items":[]}`,
		"/orders?prefix=dave&count&from=" + url.QueryEscape("dave/cheap/8/"): `{"count":1}`,
	} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", target, nil))
		if answer.Code != 200 || answer.Body.String() != want {
			t.Errorf("%s: %d %s, want %s", target, answer.Code, answer.Body, want)
		}
		partitions := strings.Count(answer.Header().Get(views.HeaderPosition), ",") + 1
		if all := target == "/orders?count"; all != (partitions == rowPartitions) || !all && partitions != 1 {
			t.Errorf("%s: the answer is of positions %q", target, answer.Header().Get(views.HeaderPosition))
		}
	}
	for _, target := range []string{"/orders/alice", "/orders/alice/cheap/soon/o1", "/orders/alice/cheap/7/o1/more", "/orders?prefix=a/b/soon", "/orders?from=alice"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", target, nil))
		if answer.Code != 400 {
			t.Errorf("%s: %d %s, want 400", target, answer.Code, answer.Body)
		}
	}
}

func TestCountsAreChecked(t *testing.T) {
	f := newRowFixture(t, kafkatest.Embedded(t))
	f.config.Counts = []codecs.Prefixer{nil, codecs.Ordered[string]{}}
	if _, err := views.New(f.config); !errors.Is(err, views.ErrConfig) || !strings.Contains(err.Error(), "kind 1") || !strings.Contains(err.Error(), "kind 2") {
		t.Errorf("invalid kinds of prefixes give %v", err)
	}
}
