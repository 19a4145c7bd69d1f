package broker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEmbeddedBrokerOffers is the table of what the embedded broker does of what
// Tidemill asks of a broker. What the tests of internal/log show on both brokers
// (transactions, isolation, stable offsets, static members, listing and ending
// transactions) is not repeated here.
func TestEmbeddedBrokerOffers(t *testing.T) {
	b := start(t, broker.Options{Dir: t.TempDir()})
	kt, a := kafkatest.At(b.Addr()), newAdmin(t, b.Addr())
	for offer, check := range map[string]func(t *testing.T){
		"transaction.version 2 (KIP-890)": func(t *testing.T) {
			level, _, err := a.FinalizedFeature(t.Context(), "transaction.version")
			if err != nil || level != 2 {
				t.Errorf("level %d, %v", level, err)
			}
		},
		"TxnOffsetCommit names topics": func(t *testing.T) {
			if got := maxVersion(t, kt, kmsg.TxnOffsetCommit.Int16()); got != 5 {
				t.Errorf("version %d, want 5", got)
			}
		},
		"no DescribeTopicPartitions": func(t *testing.T) {
			if got := maxVersion(t, kt, kmsg.DescribeTopicPartitions.Int16()); got != -1 {
				t.Errorf("version %d, want none", got)
			}
		},
		"settings of topics are kept": func(t *testing.T) {
			settings := map[string]string{
				"cleanup.policy": "compact", "retention.ms": "-1", "delete.retention.ms": "604800000",
				"min.compaction.lag.ms": "60000", "segment.bytes": "1048576", "max.message.bytes": "2097152",
			}
			name := kt.Name(t)
			if _, err := a.EnsureTopic(t.Context(), log.TopicSpec{Name: name, Partitions: 2, Config: settings}); err != nil {
				t.Error(err)
			}
		},
		"an old record stays, whatever its timestamp": func(t *testing.T) {
			name := kt.Name(t)
			kt.CreateTopic(t, name, 1, map[string]string{"cleanup.policy": "compact"})
			kt.Produce(t, &kgo.Record{Topic: name, Key: []byte("k"), Timestamp: time.UnixMilli(1)})
			b.Cluster().ApplyRetention()
			if got := len(kt.ReadAll(t, name, true)); got != 1 {
				t.Errorf("%d records, want 1", got)
			}
		},
		"a topic's own retention deletes": func(t *testing.T) {
			name := kt.Name(t)
			kt.CreateTopic(t, name, 1, map[string]string{"retention.ms": "60000"})
			kt.Produce(t, &kgo.Record{Topic: name, Timestamp: time.UnixMilli(1)})
			kt.Produce(t, &kgo.Record{Topic: name, Timestamp: time.Now()})
			b.Cluster().ApplyRetention()
			if got := len(kt.ReadAll(t, name, true)); got != 1 {
				t.Errorf("%d records, want 1", got)
			}
		},
		"a short session time-out": func(t *testing.T) {
			cl := kt.Client(t, kgo.ConsumerGroup(kt.Name(t)), kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(200*time.Millisecond), kgo.ConsumeTopics(kt.Name(t)))
			if err := cl.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"a record of half a megabyte": func(t *testing.T) {
			name := kt.Name(t)
			kt.CreateTopic(t, name, 1, nil)
			kt.Produce(t, &kgo.Record{Topic: name, Value: make([]byte, 500_000)})
			if got := kt.ReadAll(t, name, true); len(got) != 1 || len(got[0].Value) != 500_000 {
				t.Errorf("%d records", len(got))
			}
		},
		"a transaction that nobody ends is aborted after its time-out": func(t *testing.T) { timesOut(t, kt, b.Addr()) },
	} {
		t.Run(offer, check)
	}
}

func timesOut(t *testing.T, kt kafkatest.Broker, addr string) {
	name := kt.Name(t)
	kt.CreateTopic(t, name, 1, nil)
	p, err := log.NewTxnProducer(config(addr), kt.Name(t), 200*time.Millisecond)
	ok(t, err)
	defer p.Close()
	ok(t, p.Init(t.Context()))
	ok(t, p.Begin())
	ok(t, p.Produce(&kgo.Record{Topic: name, Value: []byte("v")}))
	ok(t, p.Flush(t.Context()))
	for deadline := time.Now().Add(10 * time.Second); kt.End(t, name, 0, true) != 2; {
		if time.Now().After(deadline) {
			t.Fatal("the transaction is still open")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if o, err := p.End(t.Context(), true); o == log.Committed || !errors.Is(err, log.ErrProducerFenced) {
		t.Errorf("outcome %s, %v", o, err)
	}
	if got := len(kt.ReadAll(t, name, true)); got != 0 {
		t.Errorf("%d records are visible", got)
	}
}

func maxVersion(t *testing.T, b kafkatest.Broker, key int16) int16 {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp, err := req.RequestWith(t.Context(), b.Client(t))
	ok(t, err)
	for _, k := range resp.ApiKeys {
		if k.ApiKey == key {
			return k.MaxVersion
		}
	}
	return -1
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Options{Dir: dir, Users: []broker.User{{Mechanism: "PLAIN", Name: "a", Password: "old"}}})
	ok(t, err)
	c := config(b.Addr())
	c.SASL = log.SASL{Mechanism: log.Plain, User: "a", Password: "old"}
	a, err := log.NewAdmin(c)
	ok(t, err)
	defer a.Close()
	made, err := a.EnsureTopic(t.Context(), log.TopicSpec{Name: "t", Partitions: 3, Config: map[string]string{"retention.ms": "-1"}})
	ok(t, err)
	ok(t, a.AlterOffsets(t.Context(), "g", log.Positions{"t": {2: {Offset: 7, LeaderEpoch: -1, Metadata: "m"}}}))
	ok(t, b.Close())

	// The users are those of the options now, not those of the last run.
	again := start(t, broker.Options{Dir: dir, Addr: b.Addr(), Users: []broker.User{{Mechanism: "PLAIN", Name: "a", Password: "new"}}})
	if err := a.Ping(t.Context()); err == nil {
		t.Error("the last run's password still works")
	}
	c.SASL.Password = "new"
	next, err := log.NewAdmin(c)
	ok(t, err)
	defer next.Close()
	found, err := next.Describe(t.Context(), "t")
	ok(t, err)
	if found.ID != made.ID || found.Partitions != 3 || found.Config["retention.ms"] != "-1" {
		t.Errorf("made %+v, found %+v", made, found)
	}
	at, err := next.CommittedOffsets(t.Context(), "g", true, "t")
	ok(t, err)
	if at["t"][2] != (log.Position{Offset: 7, LeaderEpoch: -1, Metadata: "m"}) {
		t.Errorf("offsets %v", at)
	}
	if again.Addr() != b.Addr() {
		t.Errorf("address %s, then %s", b.Addr(), again.Addr())
	}
}

func TestStartRefuses(t *testing.T) {
	taken := start(t, broker.Options{})
	kafka := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(kafka, "meta.properties"), nil, 0o644))
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o644))
	for what, c := range map[string]struct {
		o    broker.Options
		is   error
		says string
	}{
		"an address in use":             {broker.Options{Addr: taken.Addr()}, broker.ErrAddress, "choose another address"},
		"an address without port":       {broker.Options{Addr: "localhost"}, broker.ErrAddress, "want host:port"},
		"a port too large":              {broker.Options{Addr: "localhost:65536"}, broker.ErrAddress, "0 to 65535"},
		"an address for nobody":         {broker.Options{Addr: "0.0.0.0:9092"}, broker.ErrAddress, "a host they can reach"},
		"a real Kafka's directory":      {broker.Options{Dir: kafka}, nil, "choose another directory"},
		"a file for a directory":        {broker.Options{Dir: file}, nil, "creating the data directory"},
		"an unknown mechanism":          {broker.Options{Users: []broker.User{{Mechanism: "GSSAPI", Name: "a", Password: "b"}}}, nil, "GSSAPI"},
		"a certificate that is missing": {broker.Options{TLS: &broker.TLS{CertFile: "no", KeyFile: "no"}}, nil, "certificate"},
	} {
		_, err := broker.Start(t.Context(), c.o)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	// A refused start leaves the directory free.
	dir := t.TempDir()
	if _, err := broker.Start(t.Context(), broker.Options{Dir: dir, Addr: taken.Addr()}); !errors.Is(err, broker.ErrAddress) {
		t.Errorf("%v, want ErrAddress", err)
	}
	start(t, broker.Options{Dir: dir})
	if _, err := broker.Start(t.Context(), broker.Options{Dir: dir}); !errors.Is(err, broker.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v, want ErrLocked naming this process", err)
	}
}
