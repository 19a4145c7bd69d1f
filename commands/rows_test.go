package commands_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/views"
)

// line is the key of a line of a customer's basket: the customer decides its partition.
type line = codecs.Row[string, int64]

var lineKeys = codecs.Rows(codecs.OrderedString(), codecs.OrderedInt64())

// basketPartitions is the number of partitions of every topic.
const basketPartitions = 5

// setLine is a command.
type setLine struct {
	ID       string `json:"id"`
	Quantity int64  `json:"quantity"`
}

// basket is an application whose every key is a row: commander, processor and a view that two instances share out.
type basket struct {
	*testing.T
	broker    kafkatest.Broker
	app       string
	built     *topology.Topology
	lines     topology.Table[line, int64]
	instances []*basketView
}

// basketView is one instance of the view.
type basketView struct {
	*views.View[line, int64]
	url string
}

func newBasket(t *testing.T, b kafkatest.Broker) *basket {
	k := &basket{T: t, broker: b, app: strings.ToLower(b.Name(t))}
	described := topology.New(k.app)
	decided := described.From(topology.NewTopic(k.app+"-commands", lineKeys, codecs.JSON[setLine](), topology.Forever(), topology.Partitions(basketPartitions))).
		Decide("lines", topology.Decider[line, setLine, int64, int64]{
			ID:     func(c setLine) string { return c.ID },
			Decide: func(_ int64, _ bool, c setLine) topology.Decision[int64] { return topology.Accept(c.Quantity) },
			Evolve: func(_ int64, _ bool, quantity int64) int64 { return quantity },
		})
	decided.Events.To(topology.NewTopic(k.app+"-events", lineKeys, codecs.Int64(), topology.Partitions(basketPartitions)))
	decided.Rejections.To(topology.NewTopic(k.app+"-rejections", lineKeys, codecs.JSON[topology.Rejection](), topology.Partitions(basketPartitions)))
	built, err := described.Build()
	if err != nil {
		t.Fatal(err)
	}
	k.built, k.lines = built, decided.State
	return k
}

// background runs something until the test ends.
func (k *basket) background(what string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	k.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			k.Errorf("the %s ended with: %v", what, err)
		}
	})
}

// process runs the processor, which creates the topics.
func (k *basket) process() {
	k.Helper()
	processor, err := processors.New(k.built, processors.Config{
		Kafka: commands.Cluster{Brokers: k.broker.Brokers()}, StateDir: k.TempDir(), CreateTopics: true, Replication: 1, InstanceID: "one",
		HeartbeatInterval: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		k.Fatal(err)
	}
	k.background("processor", processor.Run)
	select {
	case <-processor.Ready():
	case <-time.After(deadline):
		k.Fatalf("the processor is not ready: %+v", processor.Status())
	}
}

// show runs one more instance of the view.
func (k *basket) show() {
	k.Helper()
	table, ok := k.lines.Describe()
	if !ok {
		k.Fatal("the table has no store")
	}
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	at := &basketView{url: "http://" + server.Listener.Addr().String()}
	log := views.LogConfig{Brokers: k.broker.Brokers()}
	sharing, err := views.NewSharing(views.SharingConfig{
		Group: k.app + "-views", URL: at.url, Instance: fmt.Sprint("view-", len(k.instances)), Log: log, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		k.Fatal(err)
	}
	at.View, err = views.New(views.Config[line, int64]{
		Name: "lines", Changelog: table.Changelog, KeyCodec: lineKeys, ValueCodec: table.Value, Dir: filepath.Join(k.TempDir(), "view"), Log: log,
		Processor: views.Processor{Group: k.group(), Topics: []string{k.app + "-commands"}}, Sharing: sharing, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		k.Fatal(err)
	}
	handler, err := at.Handler(views.HTTP[line, int64]{
		Path: "/lines", Render: func(dst []byte, _ line, quantity int64) ([]byte, error) {
			return strconv.AppendInt(dst, quantity, 10), nil
		},
	})
	if err != nil {
		k.Fatal(err)
	}
	mux.Handle("/lines", handler)
	mux.Handle("/lines/", handler)
	mux.Handle(sharing.Path(), sharing)
	server.Start()
	k.Cleanup(server.Close)
	k.background("view", at.Run)
	k.instances = append(k.instances, at)
}

func (k *basket) group() string { return k.built.Graph().SubTopologies[0].Group }

// command runs a commander and returns its address.
func (k *basket) command() string {
	k.Helper()
	commander, err := commands.New(commands.Config[line, setLine]{
		Application: k.app, Topic: commands.Topic[line, setLine]{Name: k.app + "-commands", Key: lineKeys, Value: codecs.JSON[setLine]()},
		Cluster: commands.Cluster{Brokers: k.broker.Brokers()}, Wait: deadline, Logger: slog.New(slog.DiscardHandler),
		Outputs: commands.Outputs{Group: k.group(), Events: []string{k.app + "-events"}, Rejections: []string{k.app + "-rejections"}, DeadLetters: []string{k.app + "-dead-letters"}},
	})
	if err != nil {
		k.Fatal(err)
	}
	if err := commander.Handle(commands.Route[line, setLine]{
		Method: http.MethodPut, Pattern: "/lines/{customer}/{number}", Schema: `{"type": "object", "properties": {"quantity": {"type": "integer"}}, "required": ["quantity"]}`,
		Build: func(r *commands.Request) (line, setLine, error) {
			body, err := r.JSON[setLine]()
			number, wrong := strconv.ParseInt(r.PathValue("number"), 10, 64)
			return line{Partition: r.PathValue("customer"), Sort: number}, setLine{ID: r.CommandID(), Quantity: body.Quantity}, errors.Join(err, wrong)
		},
	}); err != nil {
		k.Fatal(err)
	}
	k.background("commander", commander.Run)
	server := httptest.NewServer(commander.Handler())
	k.Cleanup(func() {
		server.Close()
		commander.Close()
	})
	return server.URL
}

// TestRowKeysAreRouted: a command whose key is a row lies where the plain partition part does, and so do its event and its row in
// the changelog; and a view that is shared out finds the row there, whichever instance is asked.
func TestRowKeysAreRouted(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		k := newBasket(t, b)
		k.process()
		k.show()
		k.show()
		commander := k.command()

		const each = 4
		customers := []string{"alice", "bob", "carol", "dave", "erin", "frank & söhne"}
		used, tokens := map[int32]bool{}, map[line]string{}
		for c, customer := range customers {
			used[partition.ForKey([]byte(customer), basketPartitions)] = true
			for number := range int64(each) {
				path := "/lines/" + url.PathEscape(customer) + "/" + strconv.FormatInt(number, 10)
				got := send(t, http.MethodPut, commander+path, fmt.Sprintf(`{"quantity":%d}`, 100*c+int(number)))
				if got.status != http.StatusOK {
					t.Fatalf("%s: %v", path, got)
				}
				tokens[line{Partition: customer, Sort: number}] = got.header.Get(commands.TokenHeader)
			}
		}
		if len(used) < 3 {
			t.Fatalf("the customers lie on %d partitions: too few to tell a wrong one", len(used))
		}
		k.checkPlaces(len(tokens))
		for c, customer := range customers {
			quantities := []string{}
			for number := range int64(each) {
				k.checkLine(line{Partition: customer, Sort: number}, int64(100*c)+number, tokens[line{Partition: customer, Sort: number}])
				quantities = append(quantities, fmt.Sprint(int64(100*c)+number))
			}
			k.checkLines(customer, `{"items":[`+strings.Join(quantities, ",")+`]}`)
		}
	})
}

// checkPlaces compares the partitions of all records with those of their keys' partition parts.
func (k *basket) checkPlaces(count int) {
	k.Helper()
	table, _ := k.lines.Describe()
	elsewhere := 0 // records that their whole keys would have put elsewhere
	for _, topic := range []string{k.app + "-commands", k.app + "-events", table.Changelog} {
		records := k.broker.ReadAll(k.T, topic, true)
		if len(records) != count {
			k.Errorf("%s has %d records, want %d", topic, len(records), count)
		}
		for _, record := range records {
			key, err := lineKeys.Decode(record.Key)
			if err != nil {
				k.Fatalf("a key of %s: %v", topic, err)
			}
			if want := partition.ForKey([]byte(key.Partition), basketPartitions); record.Partition != want {
				k.Errorf("%s: %+v is on partition %d, and %q belongs on %d", topic, key, record.Partition, key.Partition, want)
			}
			if partition.ForKey(record.Key, basketPartitions) != record.Partition {
				elsewhere++
			}
		}
	}
	if elsewhere == 0 {
		k.Error("the whole keys lead to the same partitions: this test can find nothing")
	}
}

// checkLine asks both instances for a row, over HTTP and in the process.
func (k *basket) checkLine(key line, want int64, token string) {
	k.Helper()
	path := "/lines/" + url.PathEscape(key.Partition) + "/" + strconv.FormatInt(key.Sort, 10)
	for _, at := range k.instances {
		got := send(k.T, http.MethodGet, at.url+path, "", views.HeaderToken, token, "Prefer", "wait=20")
		if got.status != http.StatusOK || got.body != strconv.FormatInt(want, 10) {
			k.Errorf("%s at %s: %v, want %d", path, at.url, got, want)
		}
		if number, err := at.PartitionOf(key); err != nil || number != partition.ForKey([]byte(key.Partition), basketPartitions) {
			k.Errorf("%+v is on partition %d for the view: %v", key, number, err)
		}
	}
	k.readByHolder(fmt.Sprintf("%+v", key), func(at *basketView) error {
		value, there, err := at.Get(k.Context(), key)
		if err == nil && (!there || value != want) {
			k.Errorf("%+v: %d, %t, want %d", key, value, there, want)
		}
		return err
	})
}

// readByHolder has every instance read within its process until one that holds the rows has done so. The instances may be handing
// the partition over still, so that for a moment neither has it.
func (k *basket) readByHolder(what string, read func(at *basketView) error) {
	k.Helper()
	var errs []error
	for until := time.Now().Add(deadline); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		held := false
		errs = errs[:0]
		for _, at := range k.instances {
			switch err := read(at); {
			case err == nil:
				held = true
			case !errors.Is(err, views.ErrNotReady): // which an ErrElsewhere is
				k.Fatalf("%s at %s: %v", what, at.url, err)
			default:
				errs = append(errs, err)
			}
		}
		if held {
			return
		}
	}
	k.Fatalf("no instance has %s: %v", what, errors.Join(errs...))
}

// checkLines asks both instances for all rows of a customer, which are read from the one partition that has them.
func (k *basket) checkLines(customer, want string) {
	k.Helper()
	prefix, err := lineKeys.Partition().Append(nil, customer)
	if err != nil {
		k.Fatal(err)
	}
	for _, at := range k.instances {
		got := send(k.T, http.MethodGet, at.url+"/lines?prefix="+url.QueryEscape(customer), "")
		if got.status != http.StatusOK || got.body != want {
			k.Errorf("the lines of %s at %s: %v, want %s", customer, at.url, got, want)
		}
		position, _, _ := strings.Cut(got.header.Get(views.HeaderPosition), ":")
		if position != fmt.Sprint(partition.ForKey([]byte(customer), basketPartitions)) || strings.Contains(got.header.Get(views.HeaderPosition), ",") {
			k.Errorf("the lines of %s are of the positions %q", customer, got.header.Get(views.HeaderPosition))
		}
	}
	k.readByHolder("the lines of "+customer, func(at *basketView) error {
		rows := at.Query(k.Context(), views.Query[line]{Prefix: prefix})
		numbers := []int64{}
		for key := range rows.All() {
			numbers = append(numbers, key.Sort)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if !slices.Equal(numbers, []int64{0, 1, 2, 3}) {
			k.Errorf("the lines of %s: %v", customer, numbers)
		}
		return nil
	})
}
