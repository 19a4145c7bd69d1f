package views_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/views"
)

const (
	modelPartitions = 3
	modelKeys       = 24
	modelClients    = 8
	modelRounds     = 60
)

// model is a run of TestWatchModel.
type model struct {
	t         *testing.T
	broker    kafkatest.Broker
	fixture   *fixture // for its configuration
	history   history
	instances [2]*modelInstance
	ended     chan struct{} // closed when nothing is written any more
}

// modelInstance is one instance of the view with its server, restarted now and then.
type modelInstance struct {
	dir string

	mu   sync.Mutex
	view *views.View[string, amount] // guarded by mu
	url  string                      // guarded by mu
	stop func()                      // guarded by mu
}

// TestWatchModel writes random changes, in and out of transactions, some of them aborted, while two instances of a view
// are stopped, started and rebuilt, and clients of all selections, fast and slow, are cut off and come back to either of
// them. What a client is told is held against what was written: no value of a row comes twice or after a later one, and
// whenever a position comes with the claim that all below it was told, at each ready, heartbeat and at the end, the
// client's rows are those that the log had at that position.
func TestWatchModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TIDEMILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		defer func() {
			if t.Failed() {
				t.Logf("TIDEMILL_SEED=%d", seed)
			}
		}()
		random := rand.New(rand.NewPCG(seed, 0))
		m := &model{t: t, broker: b, fixture: newFixture(t, b, modelPartitions), ended: make(chan struct{})}
		m.fixture.config.RecentBytes = []int{3 << 10, 64 << 10, 0}[random.IntN(3)]
		for i := range m.instances {
			m.instances[i] = &modelInstance{dir: filepath.Join(t.TempDir(), "view"+strconv.Itoa(i))}
			m.start(m.instances[i])
		}
		t.Cleanup(func() {
			for _, instance := range m.instances {
				instance.stop()
			}
		})
		var clients, chaos sync.WaitGroup
		for i := range modelClients {
			clients.Go(func() { m.client(i, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
		}
		chaos.Go(func() { m.chaos(rand.New(rand.NewPCG(seed, 100))) })
		m.write(random)
		close(m.ended)
		chaos.Wait()
		clients.Wait()
	})
}

// start runs an instance.
func (m *model) start(i *modelInstance) {
	config := m.fixture.config
	config.Dir = i.dir
	view, err := views.New(config)
	if err != nil {
		m.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- view.Run(ctx) }()
	speech := calculatorHTTP
	speech.Heartbeat = 20 * time.Millisecond
	handler, err := view.Handler(speech)
	if err != nil {
		m.t.Error(err)
	}
	server := httptest.NewServer(handler)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.view, i.url = view, server.URL
	i.stop = sync.OnceFunc(func() {
		view.EndWatches()
		server.Close()
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("running a view: %v", err)
		}
	})
}

// chaos stops and starts instances, one of them with nothing left of its copy now and then.
func (m *model) chaos(random *rand.Rand) {
	for {
		select {
		case <-m.ended:
			return
		case <-time.After(time.Duration(random.IntN(250)) * time.Millisecond):
		}
		i := m.instances[random.IntN(len(m.instances))]
		i.stop()
		if random.IntN(3) == 0 {
			if err := os.RemoveAll(i.dir); err != nil {
				m.t.Error(err)
			}
		}
		m.start(i)
	}
}

// write writes. The history is locked for as long as something is in the log that it does not know of.
func (m *model) write(random *rand.Rand) {
	plain := m.broker.Client(m.t)
	defer plain.Close()
	transactional := m.broker.Client(m.t, kgo.TransactionalID(m.broker.Name(m.t)))
	defer transactional.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	value := 0.0
	for range modelRounds {
		count := 1 + random.IntN(6)
		if random.IntN(12) == 0 {
			count = 600 // more than a queue holds before it is conflated
		}
		records := make([]*kgo.Record, count)
		for i := range records {
			value++
			written := &value
			if random.IntN(4) == 0 {
				written = nil
			}
			records[i] = m.fixture.record("k"+strconv.Itoa(random.IntN(modelKeys)), written)
		}
		if err := m.commit(ctx, plain, transactional, records, random.IntN(5)); err != nil {
			m.t.Error(err)
			return
		}
		time.Sleep(time.Duration(random.IntN(12)) * time.Millisecond)
	}
}

// commit writes records in a transaction, which is aborted for 0, or without one for more than 2.
func (m *model) commit(ctx context.Context, plain, transactional *kgo.Client, records []*kgo.Record, kind int) error {
	m.history.mu.Lock()
	defer m.history.mu.Unlock()
	if kind > 2 {
		if err := plain.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
	} else {
		if err := transactional.BeginTransaction(); err != nil {
			return err
		}
		if err := transactional.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		if err := transactional.EndTransaction(ctx, kgo.TransactionEndTry(kind > 0)); err != nil || kind == 0 {
			return err
		}
	}
	for _, record := range records {
		w := written{offset: record.Offset, key: string(record.Key), gone: record.Value == nil}
		if !w.gone {
			text := strings.TrimSuffix(strings.TrimPrefix(string(record.Value), `{"value":`), "}")
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			w.value = value
		}
		m.history.note(record.Partition, w)
	}
	return nil
}

// modelClient is one client: what it watches, and what it has been told.
type modelClient struct {
	m       *model
	name    string
	random  *rand.Rand
	watch   views.Watch[string]
	path    string
	parts   []int32
	fold    *fold
	last    string
	settled bool // the rows are the final ones
}

// client watches, over HTTP or in the program, until it has been told all.
func (m *model) client(number int, random *rand.Rand) {
	c := &modelClient{m: m, random: random, fold: newFold(), parts: []int32{0, 1, 2}}
	switch random.IntN(4) {
	case 0:
		c.path = "/values"
	case 1:
		c.watch.Prefix, c.path = []byte("k1"), "/values?prefix=k1"
	default:
		key := "k" + strconv.Itoa(random.IntN(modelKeys))
		c.watch.Key, c.path = &key, "/values/"+key
		c.parts = []int32{partition.ForKey([]byte(key), modelPartitions)}
	}
	c.name = fmt.Sprintf("client %d of %s", number, c.path)
	deadline := time.Now().Add(2 * patience)
	for !c.settled {
		if time.Now().After(deadline) {
			m.t.Errorf("%s: it has %v in the end, want %v", c.name, c.fold.rows, m.history.all(c.selects, c.parts))
			return
		}
		if random.IntN(12) == 0 {
			c.last = ""
		}
		if c.last == "" {
			c.fold = newFold()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+random.IntN(150))*time.Millisecond)
		err := c.visit(ctx)
		cancel()
		if err != nil {
			m.t.Errorf("%s: %v", c.name, err)
			return
		}
	}
}

func (c *modelClient) selects(key string) bool {
	if c.watch.Key != nil {
		return key == *c.watch.Key
	}
	return strings.HasPrefix(key, string(c.watch.Prefix))
}

// visit is one connection to one of the instances. It returns what must not be.
func (c *modelClient) visit(ctx context.Context) error {
	instance := c.m.instances[c.random.IntN(len(c.m.instances))]
	instance.mu.Lock()
	view, url := instance.view, instance.url
	instance.mu.Unlock()
	slow := c.random.IntN(3) == 0
	if c.random.IntN(2) == 0 {
		c.watch.After = c.last
		changes := view.Watch(ctx, c.watch)
		for change := range changes.All() {
			if err := c.told(change.Kind, change.Key, change.Value.Value, changes.Position()); err != nil || c.settled {
				return err
			}
			if slow {
				time.Sleep(time.Duration(c.random.IntN(20)) * time.Millisecond)
			}
		}
		if err := changes.Err(); !errors.Is(err, views.ErrStopped) && ctx.Err() == nil {
			return fmt.Errorf("it ended with %w", err)
		}
		return nil
	}
	connection, err := connect(ctx, url+c.path, c.last)
	if err != nil {
		if strings.Contains(err.Error(), "answered") {
			return err
		}
		return nil // the server is not there
	}
	defer connection.Close()
	for !c.settled {
		e, err := connection.next()
		if err != nil {
			return nil // cut off
		}
		if err := c.heard(e); err != nil {
			return fmt.Errorf("%w: %+v", err, e)
		}
	}
	return nil
}

// heard takes in an event of a stream.
func (c *modelClient) heard(e event) error {
	id := e.id
	if id == "" {
		id = c.last
	}
	var row told
	if e.data != "" {
		row = e.told(c.m.t)
	}
	switch e.name {
	case "row":
		return c.told(views.RowPresent, row.ID, row.Value, id)
	case "deleted":
		return c.told(views.RowDeleted, row.Key, 0, id)
	case "reset":
		return c.told(views.Reset, "", 0, id)
	case "ready", "": // a heartbeat's id says the same
		return c.told(views.Ready, "", 0, id)
	}
	return errors.New("an unknown event")
}

// told takes in a change.
func (c *modelClient) told(kind views.ChangeKind, key string, value float64, id string) error {
	c.last = id
	switch kind {
	case views.Reset:
		c.fold = newFold()
	case views.RowDeleted:
		delete(c.fold.rows, key)
	case views.RowPresent:
		return c.fold.put(key, value)
	default:
		at := positions(c.m.t, id)
		if len(at) != len(c.parts) {
			return fmt.Errorf("%q has %d positions, want %d", id, len(at), len(c.parts))
		}
		if want := c.m.history.at(c.selects, c.parts, at); !c.fold.is(want) {
			return fmt.Errorf("at %v it has %v, want %v", at, c.fold.rows, want)
		}
	}
	select {
	case <-c.m.ended:
		// The end is settled by what comes, not by a claim.
		c.settled = c.fold.is(c.m.history.all(c.selects, c.parts))
	default:
	}
	return nil
}
