package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/internal/store"
)

const viewTestPatience = 30 * time.Second

var viewTestCompacted = map[string]string{"cleanup.policy": "compact", "delete.retention.ms": "604800000"}

// viewTest is one view over one changelog of a test's own.
type viewTest struct {
	broker  kafkatest.Broker
	topic   string
	dir     string
	group   string
	sources []string
	hops    []bridge.ViewHop
	log     *viewTestLog
	now     func() time.Time
	wrap    func(store.Engine) store.Engine // around each opened engine, or nil

	view *bridge.View
	stop func() error
}

func newViewTest(t *testing.T, b kafkatest.Broker, partitions int32) *viewTest {
	t.Helper()
	test := &viewTest{broker: b, topic: b.Name(t), dir: filepath.Join(t.TempDir(), "view"), log: &viewTestLog{t: t}}
	b.CreateTopic(t, test.topic, partitions, viewTestCompacted)
	return test
}

// start runs the view in a new incarnation.
func (test *viewTest) start(t *testing.T) *bridge.View {
	t.Helper()
	view, err := bridge.NewView(bridge.ViewConfig{
		Name: "values", Topic: test.topic, Dir: test.dir, Group: test.group, Sources: test.sources, Hops: test.hops, Now: test.now,
		Client: func(options ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(test.broker.Addr())}, options...)...)
		},
		Open: func(dir string) (store.Engine, error) {
			engine, err := store.OpenLevelDB(dir, store.Options{})
			if err == nil && test.wrap != nil {
				engine = test.wrap(engine)
			}
			return engine, err
		},
		Destroy: store.Destroy,
		Logger:  slog.New(slog.NewTextHandler(test.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(test.log.end)
	test.view, test.stop = view, runtest.Start(t, "view", viewTestPatience, view.Run).Stop
	return view
}

// restored starts the view and waits until it is restored.
func (test *viewTest) restored(t *testing.T) *bridge.View {
	t.Helper()
	view := test.start(t)
	select {
	case <-view.Ready():
	case <-time.After(viewTestPatience):
		t.Fatalf("the view is not restored: %+v", view.Status(false))
	}
	return view
}

// level waits until the view has all that the topic's partitions hold.
func (test *viewTest) level(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), viewTestPatience)
	defer cancel()
	for number := range test.view.Partitions() {
		end := test.broker.End(t, test.topic, number, true)
		if err := test.view.AwaitPosition(ctx, number, end); err != nil {
			t.Fatal(err)
		}
	}
}

// rows returns all rows of the view as readers see them.
func (test *viewTest) rows(t *testing.T) map[string]string {
	t.Helper()
	scan, err := test.view.Scan(t.Context(), nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer scan.Close()
	rows := make(map[string]string)
	last := ""
	for scan.Next() {
		key := string(scan.Key())
		if len(rows) > 0 && key <= last {
			t.Fatalf("key %q after %q", key, last)
		}
		rows[key], last = string(scan.Value()), key
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// want waits until the view holds what it should: a broker writes the markers of a transaction a moment after its end was
// acknowledged, so that no offset tells when there is nothing more to come.
func (test *viewTest) want(t *testing.T, want map[string]string) {
	t.Helper()
	deadline := time.Now().Add(viewTestPatience)
	for {
		test.level(t)
		got := test.rows(t)
		if maps.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the view holds %d rows, want %d; for example %s", len(got), len(want), viewTestDifference(got, want))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func viewTestDifference(got, want map[string]string) string {
	for key, value := range want {
		if got[key] != value {
			return fmt.Sprintf("%q is %q, want %q", key, got[key], value)
		}
	}
	for key, value := range got {
		if _, found := want[key]; !found {
			return fmt.Sprintf("%q is %q, want none", key, value)
		}
	}
	return "none"
}

// applied returns the number of records that this incarnation of the view has applied.
func (test *viewTest) applied() (records, rebuilds uint64) {
	for _, p := range test.view.Status(true) {
		records += p.Applied
		rebuilds += p.Rebuilds
	}
	return records, rebuilds
}

// put produces the records "k<i>" = value for i in [from, to), or tombstones for the empty value.
func (test *viewTest) put(t *testing.T, model map[string]string, from, to int, value string) {
	t.Helper()
	test.broker.Produce(t, test.records(model, from, to, value)...)
}

func (test *viewTest) records(model map[string]string, from, to int, value string) []*kgo.Record {
	var records []*kgo.Record
	for i := from; i < to; i++ {
		key := "k" + strconv.Itoa(i)
		record := &kgo.Record{Topic: test.topic, Key: []byte(key)}
		if value == "" {
			delete(model, key)
		} else {
			record.Value = []byte(value)
			model[key] = value
		}
		records = append(records, record)
	}
	return records
}

// transact produces records in one transaction and commits or aborts it.
func (test *viewTest) transact(t *testing.T, commit bool, records ...*kgo.Record) {
	t.Helper()
	client := test.broker.Client(t, kgo.TransactionalID(test.broker.Name(t)))
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), viewTestPatience)
	defer cancel()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		t.Fatal(err)
	}
}

// commitOffset commits an offset as the processor's group would.
func (test *viewTest) commitOffset(t *testing.T, topic string, number int32, offset int64) {
	t.Helper()
	test.commitOf(t, test.group, topic, number, offset)
}

// commitOf commits an offset of a group.
func (test *viewTest) commitOf(t *testing.T, group, topic string, number int32, offset int64) {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9) // later ones want topic ids
	client := test.broker.Client(t, kgo.MaxVersions(versions))
	defer client.Close()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = number, offset
	source := kmsg.NewOffsetCommitRequestTopic()
	source.Topic, source.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{p}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Topics = group, []kmsg.OffsetCommitRequestTopic{source}
	request.Generation = -1
	response, err := request.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("committing an offset: error code %d", code)
	}
}

// viewTestEventually polls until a condition holds.
func viewTestEventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(viewTestPatience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// viewTestLog writes log lines to the test's, until it ends.
type viewTestLog struct {
	mu    sync.Mutex
	t     *testing.T
	ended bool
}

func (l *viewTestLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Logf("%s", line)
	}
	return len(line), nil
}

func (l *viewTestLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}
