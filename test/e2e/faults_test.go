package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/meta"
)

// quickly are the flags of a processor whose partitions go to others after three seconds of silence.
var quickly = []string{"--processor-session-timeout", "3s", "--processor-heartbeat-interval", "300ms", "--processor-rebalance-timeout", "6s"}

// pair starts two processors and waits until each has partitions.
func pair(t *testing.T, brokers string) (first, second *process) {
	t.Helper()
	first = launchProcessor(t, brokers, "first", quickly...)
	first.awaitReady()
	second = launchProcessor(t, brokers, "second", quickly...)
	awaitShared(t, first, second)
	return first, second
}

// awaitShared waits until two processors share the partitions.
func awaitShared(t *testing.T, first, second *process) {
	t.Helper()
	eventually(t, "both processors have partitions", func() bool {
		a, b := assigned(t, first), assigned(t, second)
		return a > 0 && b > 0 && a+b == 4
	})
}

// assigned returns how many partitions a processor says it has.
func assigned(t *testing.T, p *process) int {
	got, err := ask(t.Context(), http.MethodGet, p.admin+"/metrics", "")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(got.body) {
		if strings.HasPrefix(line, "tidemill_processor_partitions_assigned") {
			fields := strings.Fields(line)
			var count float64
			if json.Unmarshal([]byte(fields[len(fields)-1]), &count) == nil {
				return int(count)
			}
		}
	}
	return 0
}

// loaded runs a test's middle while commands are written, and then checks.
func loaded(t *testing.T, brokers string, over time.Duration, middle func()) report {
	t.Helper()
	_, seed := random(t)
	n, _ := sizes()
	done := make(chan struct{})
	go func() {
		defer close(done)
		produce(t, producer(t, brokers), calculatortest.NewRandom(seed, 200, time.Now().UnixMilli()), n, over)
	}()
	middle()
	<-done
	found := check(t, brokers)
	if found.commands != n {
		t.Errorf("there are %d commands in the log, %d were acknowledged", found.commands, n)
	}
	return found
}

// One of two instances is killed and does not come back: the other takes over its partitions.
func TestOneOfTwoInstancesKilled(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		first, second := pair(t, brokers)
		loaded(t, brokers, 4*time.Second, func() {
			time.Sleep(time.Second)
			second.kill9()
			began := time.Now()
			eventually(t, "the first has all partitions", func() bool { return assigned(t, first) == 4 })
			t.Logf("taken over after %s", time.Since(began).Round(time.Millisecond))
		})
	})
}

// An instance is stopped past its session time-out and goes on: it is fenced, what it had begun is not seen, and it joins
// again.
func TestInstancePausedPastItsSession(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		first, second := pair(t, brokers)
		loaded(t, brokers, 9*time.Second, func() {
			time.Sleep(time.Second)
			second.pause()
			eventually(t, "the first has all partitions", func() bool { return assigned(t, first) == 4 })
			time.Sleep(500 * time.Millisecond)
			second.signal(syscall.SIGCONT)
			began := time.Now()
			awaitShared(t, first, second)
			t.Logf("back after %s", time.Since(began).Round(time.Millisecond))
		})
		if !first.Running() || !second.Running() {
			t.Error("a processor has ended")
		}
	})
}

// The only instance is stopped past its session time-out, with nobody to take over, and goes on.
func TestOnlyInstancePausedPastItsSession(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		only := launchProcessor(t, brokers, "only", quickly...)
		only.awaitReady()
		loaded(t, brokers, 6*time.Second, func() {
			time.Sleep(500 * time.Millisecond)
			only.pause()
			time.Sleep(4500 * time.Millisecond)
			only.signal(syscall.SIGCONT)
		})
		if !only.Running() {
			t.Error("the processor has ended")
		}
	})
}

// What cannot be processed is set aside with its cause, and the partition goes on.
func TestPoisonedRecords(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		launchProcessor(t, brokers, "processor").awaitReady()
		client := producer(t, brokers)
		id := calculatortest.ID(1)
		good := func(command, action, operation string, value float64) *kgo.Record {
			c := calculator.Command{ID: command, Action: action, Timestamp: 1}
			c.Data = calculator.Request{ValueID: id, Operation: operation, Value: calculator.NumberOf(value)}
			return record(t, c)
		}
		poison := func(body string) *kgo.Record {
			return &kgo.Record{
				Topic: calculator.Commands.Name(), Key: []byte(id), Value: []byte(body),
				Headers: []kgo.RecordHeader{{Key: "theirs", Value: []byte("kept")}},
			}
		}
		bodies := []string{"{", "\xff\xfe", `{"id":"p","action":"CreateValue","data":{"value-id":"` + id + `","value":NaN},"timestamp":1}`, strings.Repeat("[", 100_000)}
		records := []*kgo.Record{good("1", "CreateValue", "", 3)}
		for _, body := range bodies {
			records = append(records, poison(body))
		}
		records = append(records, good("2", "UpdateValue", "MULTIPLY", 3))
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		found := check(t, brokers)
		if found.events != 2 || found.values[id] != 9 || found.dead != len(bodies) {
			t.Errorf("there are %d events and %d dead letters, and the value is %v; want 2, %d and 9", found.events, found.dead, found.values[id], len(bodies))
		}
		for _, letters := range readTopic(t, brokers, calculator.DeadLetters) {
			for i, letter := range letters {
				topic, _ := headerOf(letter, meta.DeadTopic)
				cause, _ := headerOf(letter, meta.DeadError)
				theirs, _ := headerOf(letter, "theirs")
				if string(letter.Value) != bodies[i] || string(letter.Key) != id || topic != calculator.Commands.Name() || cause == "" || theirs != "kept" {
					t.Errorf("dead letter %d is %.80q under %q, from %q because %q, header %q", i, letter.Value, letter.Key, topic, cause, theirs)
				}
			}
		}
	})
}

// While the broker is away HTTP answers 503 and when to come again, and afterwards everything goes on by itself.
func TestBrokerAway(t *testing.T) {
	try := func(t *testing.T, brokers string, stop, start func()) {
		s := separate(t, brokers)
		id := session(t, s.commander.url, s.view.url)
		stop()
		began := time.Now()
		for asked := 0; asked < 3; asked++ {
			got := must(t, http.MethodPut, s.commander.url+"/values/"+id, `{"operation": "ADD", "value": 1}`, "Idempotency-Key", "while-away")
			if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("while the broker is away: %d, %s, %v", got.status, got.body, got.header)
			}
		}
		t.Logf("three requests were refused within %s", time.Since(began).Round(time.Millisecond))
		if got := must(t, http.MethodGet, s.commander.admin+"/readyz", ""); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, errAway) {
			t.Errorf("the commander says it is ready: %d, %s", got.status, got.body)
		}
		start()
		began = time.Now()
		eventually(t, "a command is accepted again", func() bool {
			got := must(t, http.MethodPut, s.commander.url+"/values/"+id, `{"operation": "ADD", "value": 1}`, "Idempotency-Key", "while-away")
			return got.status == http.StatusOK
		})
		t.Logf("accepted again %s after the broker", time.Since(began).Round(time.Millisecond))
		if got := must(t, http.MethodGet, s.view.url+"/values/"+id, ""); got.body != `{"value_id":"`+id+`","value":10.0}` {
			t.Errorf("added once: %s", got.body)
		}
		check(t, brokers)
		for _, p := range []*process{s.processor, s.commander, s.view, s.subscriptions} {
			if !p.Running() {
				t.Errorf("%s has ended", p.name)
			}
		}
	}
	t.Run(kafkatest.KindEmbedded, func(t *testing.T) {
		addr, node := launchBroker(t)
		try(t, addr, node.kill9, func() { node.start(); node.awaitAddr(addr) })
	})
	t.Run(kafkatest.KindReal, func(t *testing.T) {
		if testing.Short() {
			t.Skip("a real Kafka takes its time to start again")
		}
		node := kafkatest.RealOwn(t, kafkatest.Options{})
		try(t, node.Addr(), func() { node.Kill9(t) }, func() { node.Start(t) })
	})
}

// errAway is what /readyz says of the log.
const errAway = "no broker answers"

// The broker process of up is killed: up starts it again and goes on.
func TestBrokerOfUpKilled(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	up.awaitReady()
	id := session(t, up.url, up.url)
	child := childOf(t, up)
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a command is accepted again", func() bool {
		got := must(t, http.MethodPut, up.url+"/values/"+id, `{"operation": "ADD", "value": 1}`, "Idempotency-Key", "over-a-restart")
		return got.status == http.StatusOK
	})
	if got := must(t, http.MethodGet, up.url+"/values/"+id, ""); got.body != `{"value_id":"`+id+`","value":10.0}` {
		t.Errorf("added once: %s", got.body)
	}
}

// The broker process of up is killed while it starts, twice: up starts it again.
func TestBrokerOfUpKilledWhileItStarts(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	for killed := 0; killed < 2; {
		child := findChild(t, up)
		if child != 0 && syscall.Kill(child, syscall.SIGKILL) == nil {
			killed++
			eventually(t, "the process is gone", func() bool { return findChild(t, up) != child })
		}
	}
	up.awaitReady()
	if !strings.Contains(up.Log(), "was killed while it started") {
		t.Errorf("no kill has come before the broker was ready:\n%s", up.Log())
	}
	session(t, up.url, up.url)
}
