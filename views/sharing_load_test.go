package views_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/views"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// movesKeys is the number of keys that are written.
const movesKeys = 60

// movesVersion is one value of a key.
type movesVersion struct {
	value float64
	acked time.Time // when the log had it; zero before
	token string    // of the command that it came from; "" before that is committed
}

// movesWriter writes keys over and over and knows what was written when.
type movesWriter struct {
	shared  *shared
	client  *kgo.Client
	stopped chan struct{}

	mu       sync.Mutex
	versions map[string][]movesVersion // guarded by mu
	last     float64                   // guarded by mu
	commands map[int32]int64           // the writer's own: offsets committed
}

func newMovesWriter(t testing.TB, s *shared) *movesWriter {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9) // later ones want topic ids
	w := &movesWriter{
		shared: s, client: s.broker.Client(t, kgo.MaxVersions(versions)), stopped: make(chan struct{}),
		versions: make(map[string][]movesVersion), commands: make(map[int32]int64),
	}
	ctx, cancel := context.WithCancel(context.Background())
	for n := range movesKeys {
		if err := w.write(ctx, "k"+strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer close(w.stopped)
		ticker := time.NewTicker(8 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := w.write(ctx, "k"+strconv.Itoa(rand.IntN(movesKeys))); err != nil && ctx.Err() == nil {
				t.Errorf("writing: %v", err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-w.stopped
		w.client.Close()
	})
	return w
}

// write gives a key its next value, as a processor would: the changelog's record, then the offset of the command.
func (w *movesWriter) write(ctx context.Context, key string) error {
	w.mu.Lock()
	w.last++
	value := w.last
	w.versions[key] = append(w.versions[key], movesVersion{value: value})
	at := len(w.versions[key]) - 1
	w.mu.Unlock()
	produced := w.client.ProduceSync(ctx, w.shared.record(key, &value))
	if err := produced.FirstErr(); err != nil {
		return err
	}
	acked := time.Now()
	number := produced[0].Record.Partition
	offset := w.commands[number]
	w.commands[number]++
	if err := w.commit(ctx, number, offset+1); err != nil {
		return err
	}
	token := views.Token{Topic: w.shared.commands, Partition: number, Offset: offset}.String()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[key][at].acked, w.versions[key][at].token = acked, token
	return nil
}

func (w *movesWriter) commit(ctx context.Context, number int32, offset int64) error {
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = number, offset
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = w.shared.commands, []kmsg.OffsetCommitRequestTopicPartition{p}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation, request.Topics = w.shared.config.Processor.Group, -1, []kmsg.OffsetCommitRequestTopic{topic}
	response, err := request.RequestWith(ctx, w.client)
	if err != nil {
		return err
	}
	if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("committing an offset: error code %d", code)
	}
	return nil
}

// latest returns the key's latest value that was in the log at a time, with its token.
func (w *movesWriter) latest(key string, at time.Time) movesVersion {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, version := range slices.Backward(w.versions[key]) {
		if !version.acked.IsZero() && !version.acked.After(at) {
			return version
		}
	}
	return movesVersion{}
}

// written reports whether the key had a value, and since when it is not the latest one; zero if it is.
func (w *movesWriter) written(key string, value float64) (known bool, superseded time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.IndexFunc(w.versions[key], func(v movesVersion) bool { return v.value == value })
	if at >= 0 && at+1 < len(w.versions[key]) {
		superseded = w.versions[key][at+1].acked
	}
	return at >= 0, superseded
}

// movesAtOnce bounds the queries that are under way at once: a busy machine gets fewer, not a queue that grows.
const movesAtOnce = 48

// movesLoad asks all instances in turn, at a steady rate where the machine allows it.
type movesLoad struct {
	t       testing.TB
	writer  *movesWriter
	cancel  context.CancelFunc
	stopped chan struct{}
	queries sync.WaitGroup

	mu        sync.Mutex
	instances []*instance         // guarded by mu
	tolerant  bool                // guarded by mu: a query may fail, clearly
	phases    []*movesTally       // guarded by mu
	answered  map[int32]time.Time // guarded by mu: the last answer of a partition
	wrong     int                 // guarded by mu
}

// movesTally is what came of the queries of a phase.
type movesTally struct {
	name                       string
	tolerant                   bool
	queries, refused, repeated int
	slowest                    time.Duration
	which                      string        // was the slowest
	gap                        time.Duration // the longest without an answer about some partition
	stalest                    time.Duration // of an answer that was not bound
}

func newMovesLoad(t testing.TB, w *movesWriter, seed uint64, instances ...*instance) *movesLoad {
	ctx, cancel := context.WithCancel(context.Background())
	l := &movesLoad{t: t, writer: w, cancel: cancel, stopped: make(chan struct{}), instances: instances, answered: make(map[int32]time.Time)}
	l.phase("start")
	random := rand.New(rand.NewPCG(seed, 0))
	go func() {
		defer close(l.stopped)
		room := make(chan struct{}, movesAtOnce)
		began := time.Now()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(*movesRate)))):
			}
			select {
			case <-ctx.Done():
				return
			case room <- struct{}{}:
			}
			query := l.query(random, n)
			l.queries.Go(func() {
				defer func() { <-room }()
				query()
			})
		}
	}()
	t.Cleanup(l.finish)
	return l
}

func (l *movesLoad) finish() {
	l.cancel()
	<-l.stopped
	l.queries.Wait()
}

// end stops the load and prints what came of it.
func (l *movesLoad) end() {
	l.finish()
	for _, p := range l.phases[1:] {
		l.t.Logf("%-52s %6d queries, %d refused, %d repeated elsewhere; slowest %v (%.60s), longest without an answer about a partition %v, oldest answer without a bound %v",
			p.name, p.queries, p.refused, p.repeated, p.slowest.Round(time.Millisecond), p.which, p.gap.Round(time.Millisecond), p.stalest.Round(time.Millisecond))
		if p.queries == 0 || (p.tolerant && p.refused == 0) {
			l.t.Errorf("%s: the queries do not show anything", p.name)
		}
	}
}

// phase begins a phase.
func (l *movesLoad) phase(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phases = append(l.phases, &movesTally{name: name})
}

// reach says which instances are asked.
func (l *movesLoad) reach(instances ...*instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instances = instances
}

// tolerate says whether queries may fail, clearly.
func (l *movesLoad) tolerate(tolerant bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tolerant = tolerant
	l.phases[len(l.phases)-1].tolerant = l.phases[len(l.phases)-1].tolerant || tolerant
}

// fail reports a wrong answer; not all of a flood.
func (l *movesLoad) fail(format string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong++; l.wrong <= 20 {
		l.t.Errorf("%s: %s", l.phases[len(l.phases)-1].name, fmt.Sprintf(format, values...))
	}
}

// movesQuery is one query and what its answer must be.
type movesQuery struct {
	path    string
	headers []string
	key     string // "" for all
	atLeast float64
	bound   string
}

// query makes up a query, to be asked at once.
func (l *movesLoad) query(random *rand.Rand, n int) func() {
	q := movesQuery{key: "k" + strconv.Itoa(random.IntN(movesKeys))}
	q.path = "/values/" + q.key
	kind := random.IntN(20)
	now := time.Now()
	bound := []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second}[random.IntN(4)]
	switch {
	case kind < 7:
		latest := l.writer.latest(q.key, now)
		q.bound, q.atLeast, q.headers = "its token", latest.value, []string{"Tidemill-Token", latest.token}
	case kind < 14:
		q.bound, q.atLeast, q.headers = "the bound of "+bound.String(), l.writer.latest(q.key, now.Add(-bound)).value, []string{"Tidemill-Max-Staleness", bound.String()}
	case kind < 15:
		q.path, q.key = "/values?count", ""
	case kind < 16:
		q.path, q.key = "/values?limit=100&max_staleness="+bound.String(), ""
		q.bound, q.atLeast = "the bound of "+bound.String(), -1
	case kind < 17:
		q.headers = []string{"Prefer", "redirect"}
	}
	floors := make(map[string]float64)
	if q.atLeast < 0 {
		for n := range movesKeys {
			key := "k" + strconv.Itoa(n)
			floors[key] = l.writer.latest(key, now.Add(-bound)).value
		}
	} else {
		floors[q.key] = q.atLeast
	}
	// Under whatever else the machine does, waiting is not failing; but where an answer may be missing some do not wait for it.
	wait := "wait=10"
	l.mu.Lock()
	if l.tolerant && kind%2 == 0 {
		wait = "wait=0.2"
	}
	l.mu.Unlock()
	q.headers = append(q.headers, "Prefer", wait)
	return func() { l.ask(q, n, floors) }
}

// ask asks one instance, and the next one when it cannot be reached at all, as whatever balances load does.
func (l *movesLoad) ask(q movesQuery, n int, floors map[string]float64) {
	began := time.Now()
	l.mu.Lock()
	instances, tally := l.instances, l.phases[len(l.phases)-1]
	tally.queries++
	l.mu.Unlock()
	var response *http.Response
	var body []byte
	var err error
	var failures []error
	for attempt := range len(instances) {
		if response, body, err = instances[(n+attempt)%len(instances)].try(q.path, q.headers); err == nil {
			break
		}
		if slices.Contains(q.headers, "redirect") {
			q.headers = q.headers[2:] // it may lead to an instance that has gone a moment ago
		}
		failures = append(failures, err)
		l.mu.Lock()
		tally.repeated++
		l.mu.Unlock()
	}
	ended := time.Now()
	l.mu.Lock()
	tolerant := l.tolerant || tally.refused > 0 // what was asked in the gap may be told after it
	if took := ended.Sub(began); took > tally.slowest {
		tally.slowest, tally.which = took, fmt.Sprint(q.path, q.headers)
	}
	l.mu.Unlock()
	switch {
	case err != nil:
		l.fail("nobody answers %s %v: %v", q.path, q.headers, errors.Join(failures...))
	case tolerant && (response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "" || response.StatusCode == http.StatusGatewayTimeout) && response.Header.Get("Content-Type") == "application/problem+json":
		l.mu.Lock()
		tally.refused++
		l.mu.Unlock()
	case response.StatusCode != http.StatusOK:
		l.fail("%s %v is answered with %d after %v: %s", q.path, q.headers, response.StatusCode, ended.Sub(began), body)
	default:
		l.judge(q, began, response, body, floors, tally)
	}
}

// try sends a request, and follows a redirect.
func (i *instance) try(path string, headers []string) (*http.Response, []byte, error) {
	request, err := http.NewRequest(http.MethodGet, i.url+path, nil)
	if err != nil {
		return nil, nil, err
	}
	for n := 0; n < len(headers); n += 2 {
		request.Header.Add(headers[n], headers[n+1])
	}
	response, err := client.Do(request)
	if err == nil && response.StatusCode == http.StatusTemporaryRedirect {
		response.Body.Close()
		location, err := response.Location()
		if err != nil {
			return nil, nil, err
		}
		if request, err = http.NewRequest(http.MethodGet, location.String(), nil); err != nil {
			return nil, nil, err
		}
		response, err = client.Do(request)
		if err != nil {
			return nil, nil, err
		}
	}
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

// judge holds an answer against what was written.
func (l *movesLoad) judge(q movesQuery, began time.Time, response *http.Response, body []byte, floors map[string]float64, tally *movesTally) {
	if response.Header.Get("Tidemill-Staleness") == "" || response.Header.Get("Tidemill-Instance") == "" {
		l.fail("%s: the answer does not say how stale it is, or who gave it: %v", q.path, response.Header)
	}
	if q.path == "/values?count" {
		if want := fmt.Sprintf(`{"count":%d}`, movesKeys); string(body) != want {
			l.fail("%s: %s, want %s", q.path, body, want)
		}
		return
	}
	type item struct {
		ID    string  `json:"value_id"`
		Value float64 `json:"value"`
	}
	var answered struct {
		item
		Items []item
	}
	err := json.Unmarshal(body, &answered)
	if q.key != "" {
		answered.Items = []item{answered.item}
	} else if len(answered.Items) != movesKeys {
		err = errors.Join(err, fmt.Errorf("%d rows", len(answered.Items)))
	}
	if err != nil {
		l.fail("%s: %s: %v", q.path, body, err)
		return
	}
	for _, got := range answered.Items {
		known, superseded := l.writer.written(got.ID, got.Value)
		switch {
		case q.key != "" && got.ID != q.key, !known:
			l.fail("%s: %+v, which was never written", q.path, got)
		case got.Value < floors[got.ID]:
			l.fail("%s: %s answers %v, and by %s it must be %v at least (staleness said to be %s, position %s)", q.path, response.Header.Get("Tidemill-Instance"),
				got.Value, q.bound, floors[got.ID], response.Header.Get("Tidemill-Staleness"), response.Header.Get("Tidemill-Position"))
		case q.bound == "" && !superseded.IsZero():
			l.mu.Lock()
			tally.stalest = max(tally.stalest, began.Sub(superseded))
			l.mu.Unlock()
		}
	}
	if q.key != "" {
		l.answer(partition.ForKey([]byte(q.key), 6), tally)
	}
}

// answer notes that a partition was answered for.
func (l *movesLoad) answer(number int32, tally *movesTally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, asked := l.answered[number]; asked {
		tally.gap = max(tally.gap, now.Sub(last))
	}
	l.answered[number] = now
}
