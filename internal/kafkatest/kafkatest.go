// Package kafkatest gives tests brokers to run against: the embedded one and a
// real Kafka, fetched from Maven Central into the module's .cache/kafka.
//
//	func TestSomething(t *testing.T) {
//		kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
//			topic := b.Name(t)
//			b.CreateTopic(t, topic, 4, nil)
//			…
//		})
//	}
//
// One real broker serves all tests of a test binary. A package that uses
// EmbeddedOwn needs a TestMain that calls Main; any other may have one, so that
// the real broker is stopped as soon as the tests end. It is stopped at the
// latest when the test process ends, however it ends.
//
// Where java or mvn is missing the tests on the real broker are skipped with
// that reason; with CI=true in the environment they fail instead.
//
// Only tests and the benchmark (bench, by StartReal) import this package.
package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The kinds of broker, which are also the names of Each's subtests.
const (
	KindEmbedded = "embedded"
	KindReal     = "kafka"
)

// callTimeout bounds every call the helpers make to a broker.
const callTimeout = 30 * time.Second

// Broker is a running broker. It is a small value, and its methods are safe for
// concurrent use.
type Broker struct {
	kind string
	addr string
	opts []kgo.Opt // what a client needs beyond the address
	own  string    // the data directory where it is known
}

// Kind is KindEmbedded or KindReal.
func (b Broker) Kind() string { return b.kind }

// Addr is the broker's host and port.
func (b Broker) Addr() string { return b.addr }

// Brokers is Addr as the list that a configuration wants.
func (b Broker) Brokers() []string { return []string{b.addr} }

// DataDir is where the broker keeps its data.
func (b Broker) DataDir() string { return b.own }

// Each runs f as a subtest on the embedded broker and on the real one.
func Each(t *testing.T, f func(t *testing.T, b Broker)) {
	t.Helper()
	t.Run(KindEmbedded, func(t *testing.T) { f(t, Embedded(t)) })
	t.Run(KindReal, func(t *testing.T) { f(t, Real(t)) })
}

// EachOwn runs f as a subtest on an embedded broker and on a real one that the
// subtest has for itself and may kill.
func EachOwn(t *testing.T, o Options, f func(t *testing.T, p *Process)) {
	t.Helper()
	t.Run(KindEmbedded, func(t *testing.T) { f(t, EmbeddedOwn(t, o)) })
	t.Run(KindReal, func(t *testing.T) { f(t, RealOwn(t, o)) })
}

// Embedded starts an embedded broker in this process, with its data in the
// test's temporary directory. It is closed when the test ends.
func Embedded(t testing.TB) Broker {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "broker")
	b, err := broker.Start(t.Context(), broker.Options{Dir: dir})
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("kafkatest: closing the embedded broker: %v", err)
		}
	})
	return Broker{kind: KindEmbedded, addr: b.Addr(), own: dir}
}

var shared struct {
	sync.Mutex
	process *Process
	err     error
	skip    string
}

// Real returns the real Kafka that all tests of this test binary share: use
// Name for topics, groups and transactional ids.
func Real(t testing.TB) Broker {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.process == nil && shared.err == nil && shared.skip == "" {
		startShared()
	}
	if shared.skip != "" {
		skip(t, shared.skip)
	}
	if shared.err != nil {
		t.Fatalf("kafkatest: %v", shared.err)
	}
	return shared.process.Broker
}

func startShared() {
	if shared.skip = missing(); shared.skip != "" {
		return
	}
	dir, err := os.MkdirTemp("", "tidemill-kafka-")
	if err != nil {
		shared.err = err
		return
	}
	p := &Process{Broker: Broker{kind: KindReal, own: dir}, removeDir: true}
	if shared.err = p.prepareReal(Options{}); shared.err == nil {
		shared.err = p.start()
	}
	if shared.err != nil {
		os.RemoveAll(dir)
		return
	}
	shared.process = p
}

// Main runs a package's tests and stops the shared broker: call it from
// TestMain. In a child process that EmbeddedOwn started it is the broker.
func Main(m *testing.M) {
	mainCalled = true
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	code := m.Run()
	shared.Lock()
	if shared.process != nil {
		shared.process.kill()
		os.RemoveAll(shared.process.own)
	}
	shared.Unlock()
	os.Exit(code)
}

// skip ends a test that wants the real broker where there cannot be one.
func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("kafkatest: no real Kafka, and in CI these tests may not be skipped: %s", reason)
	}
	t.Skipf("kafkatest: no real Kafka: %s", reason)
}

// Name returns a name for a topic, group or transactional id that no other test
// has: the test's own name, made fit, and random digits.
func (b Broker) Name(t testing.TB) string {
	t.Helper()
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, t.Name())
	if len(clean) > 60 {
		clean = clean[len(clean)-60:]
	}
	var random [4]byte
	rand.Read(random[:])
	return strings.Trim(clean, "-") + "-" + hex.EncodeToString(random[:])
}

// Client returns a franz-go client for this broker, closed when the test ends.
func (b Broker) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	all := append([]kgo.Opt{kgo.SeedBrokers(b.addr), kgo.MetadataMinAge(10 * time.Millisecond)}, b.opts...)
	cl, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// CreateTopic creates a topic with the given settings, such as
// {"cleanup.policy": "compact"}, and waits until it can be written to. A topic of that name that was deleted before may still
// be served for a moment: the new one's id tells them apart, where the broker says it.
func (b Broker) CreateTopic(t testing.TB, name string, partitions int32, configs map[string]string) {
	t.Helper()
	cl := b.Client(t)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, kmsg.StringPtr(v)
		topic.Configs = append(topic.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(callTimeout.Milliseconds())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("kafkatest: creating topic %s: %v", name, err)
	}
	for !b.hasLeaders(ctx, t, cl, name, resp.Topics[0].TopicID, int(partitions)) {
		if ctx.Err() != nil {
			t.Fatalf("kafkatest: topic %s has no leaders", name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b Broker) hasLeaders(ctx context.Context, t testing.TB, cl *kgo.Client, topic string, id [16]byte, partitions int) bool {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatalf("kafkatest: asking for topic %s: %v", topic, err)
	}
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 || len(resp.Topics[0].Partitions) != partitions ||
		id != [16]byte{} && resp.Topics[0].TopicID != id {
		return false
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Leader < 0 {
			return false
		}
	}
	return true
}

// Produce writes records and waits until all are acknowledged. A record goes to
// its key's partition by Java's rule; call ProduceTo for one's own choice.
func (b Broker) Produce(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	b.produce(t, b.Client(t), records)
}

// ProduceTo is Produce with each record going to its Partition field.
func (b Broker) ProduceTo(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	b.produce(t, b.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), records)
}

func (b Broker) produce(t testing.TB, cl *kgo.Client, records []*kgo.Record) {
	t.Helper()
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("kafkatest: producing: %v", err)
	}
}

// At returns the helpers for a broker that somebody else has started, without
// TLS and SASL.
func At(addr string) Broker { return Broker{kind: KindEmbedded, addr: addr} }
