package ordering_test

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/ordering/orderingtest"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/jwtauth"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

var (
	workload  = flag.Int("workload", 3000, "commands of the random workload; the issue's is 50000")
	customers = flag.Int("customers", 40, "of the random workload; the issue's are 200")
)

// childVariable holds, in the environment of a child of the tests, the query instance that it is to be.
const childVariable = "TIDEMILL_TEST_ORDERING_CHILD"

// instanceConfig is what a query instance in a process of its own needs.
type instanceConfig struct {
	Brokers []string
	Address string
	Dir     string
	Secret  string // of bearer tokens; "" turns authorization off
	Whole   bool   // a full copy, which is not shared out
}

// child is a query instance until it is killed or its input ends.
func child(text string) int {
	var c instanceConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := runChild(c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runChild(c instanceConfig) error {
	config := ordering.Config{Config: service.Config{
		Kafka: kafka.Config{Brokers: c.Brokers}, Dir: c.Dir, URL: "http://" + c.Address, Standbys: 1,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Processor: processors.Config{CreateTopics: true, Partitions: 3, Replication: 1},
	}}
	if c.Whole {
		config.URL, config.Standbys = "", 0
	}
	if c.Secret != "" {
		authorizer, err := jwtauth.New(jwtauth.Config{Secret: []byte(c.Secret)})
		if err != nil {
			return err
		}
		config.Authorizer = authorizer
	}
	components, err := ordering.QueryService(config)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		for _, component := range components {
			if err := component.Ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
	})
	for _, component := range components {
		component.Mount(mux)
	}
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: commands.Problems(mux), ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	errs := make([]error, len(components))
	for i, component := range components {
		wait.Go(func() {
			errs[i] = component.Run(ctx)
			if errs[i] != nil {
				fmt.Fprintln(os.Stderr, component.Name(), errs[i])
				os.Exit(1)
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends or wants this one to
	for _, component := range components {
		component.Stopping()
	}
	cancel()
	wait.Wait()
	err = server.Close()
	<-served
	return errors.Join(append(errs, err)...)
}

// instance is a query instance in a child process.
type instance struct {
	*running
	config instanceConfig
	cmd    *exec.Cmd
	input  io.Closer
}

func newInstance(t *testing.T, broker kafkatest.Broker, change ...func(*instanceConfig)) *instance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	i := &instance{
		running: &running{t: t, url: "http://" + address},
		config:  instanceConfig{Brokers: broker.Brokers(), Address: address, Dir: filepath.Join(t.TempDir(), "data")},
	}
	for _, apply := range change {
		apply(&i.config)
	}
	i.start()
	t.Cleanup(func() { i.end(false) })
	return i
}

func (i *instance) start() {
	i.t.Helper()
	text, err := json.Marshal(i.config)
	if err != nil {
		i.t.Fatal(err)
	}
	i.cmd = exec.Command(os.Args[0])
	i.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	errors, err := i.cmd.StderrPipe()
	if err != nil {
		i.t.Fatal(err)
	}
	if i.input, err = i.cmd.StdinPipe(); err != nil {
		i.t.Fatal(err)
	}
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	told := filepath.Join(filepath.Dir(i.config.Dir), "log")
	log, err := os.OpenFile(told, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		i.t.Fatal(err)
	}
	go func() { // ends with the process, whose pipe it reads
		defer log.Close()
		for lines := bufio.NewScanner(errors); lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
		}
	}()
}

// end ends the process, at once or in order.
func (i *instance) end(kill bool) {
	if i.cmd == nil {
		return
	}
	if kill {
		_ = i.cmd.Process.Kill() // it may have ended by itself
	}
	_ = i.input.Close()
	timer := time.AfterFunc(patience, func() { _ = i.cmd.Process.Kill() })
	defer timer.Stop()
	if err := i.cmd.Wait(); err != nil && !kill {
		log, _ := os.ReadFile(filepath.Join(filepath.Dir(i.config.Dir), "log"))
		i.t.Errorf("a query instance ended with %v:\n%s", err, log[max(0, len(log)-4000):])
	}
	i.cmd = nil
}

// awaitReady waits until the instance says that it is ready.
func (i *instance) awaitReady() {
	i.t.Helper()
	eventually(i.t, "the query instance is ready", func() error {
		response, err := http.Get(i.url + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(string(text))
		}
		return err
	})
}

// Orders and cancellations of many customers, some written straight to the topic and some sent over HTTP under idempotency
// keys, over three query instances that share the customers out, one of which is killed and started again: in the end every
// instance shows of every customer what a sequential model has, and who followed a stream of changes was told the same.
func TestRandomWorkload(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		commands := startService(t, ordering.CommandService, config(t, broker.Broker))
		instances := []*instance{newInstance(t, broker.Broker), newInstance(t, broker.Broker), newInstance(t, broker.Broker)}
		for _, i := range instances {
			i.awaitReady()
		}
		var model orderingtest.Model
		random := orderingtest.NewRandom(*seed, *customers, start)
		var shoppers []*shopper
		for index := range max(2, *customers/20) {
			shoppers = append(shoppers, newShopper(*seed, index))
		}
		// Some look on; one never hangs up, the others do so every few events and go on at the next instance.
		watching := []*folded{fold(t, orderingtest.Customer(0), -1, instances[0].url), fold(t, shoppers[0].customer, 9, instances[1].url, instances[2].url)}
		for customer := 1; customer < min(*customers, 8); customer++ {
			watching = append(watching, fold(t, orderingtest.Customer(customer), 5*customer, instances[customer%3].url, instances[(customer+1)%3].url, instances[(customer+2)%3].url))
		}
		const batches = 20
		over := *workload / 10 / batches / len(shoppers) // for a tenth of all
		began := time.Now()
		for batch := range batches {
			load(t, broker.Broker, &model, random, *workload/batches-over*len(shoppers))
			if err := shop(commands, shoppers, over); err != nil {
				t.Fatalf("over HTTP: %v (-seed %d)", err, *seed)
			}
			switch batch {
			case batches / 3:
				instances[1].end(true)
			case batches * 2 / 3:
				instances[1].start()
			}
		}
		written := time.Now()
		if err := adopt(t, broker.Broker, &model, shoppers); err != nil {
			t.Errorf("%v (-seed %d)", err, *seed)
		}
		instances[1].awaitReady()
		names := make([]string, 0, *customers+len(shoppers))
		for customer := range *customers {
			names = append(names, orderingtest.Customer(customer))
		}
		for _, c := range shoppers {
			names = append(names, c.customer)
		}
		for i, name := range names {
			own := instances[i%len(instances)] // whoever holds the customer
			// The first to be compared waits for all that is behind.
			eventuallyIn(t, patience+time.Duration(*workload)*4*time.Millisecond, "instance "+strconv.Itoa(i%len(instances))+" agrees with the model (-seed "+strconv.FormatUint(*seed, 10)+")", func() error {
				return compare(own.running, &model, name)
			})
			if i == 0 {
				t.Logf("%d commands in %.1f s and shown %.1f s later: %.0f a second", *workload, written.Sub(began).Seconds(), time.Since(written).Seconds(), float64(*workload)/time.Since(began).Seconds())
			}
		}
		for _, f := range watching {
			eventually(t, "the changes as told agree with the model (-seed "+strconv.FormatUint(*seed, 10)+")", func() error { return f.is(&model) })
			f.mu.Lock()
			t.Logf("%s was told of its changes over %d connections, with %d resets", f.customer, f.opened, f.resets)
			f.mu.Unlock()
		}
		t.Logf("%d orders of %d customers: compared row by row, %.1f s after the first was sent", len(model.Orders()), len(names), time.Since(began).Seconds())
	})
}
