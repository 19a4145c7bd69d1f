package kafkatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

func TestEachHasABroker(t *testing.T) {
	Each(t, func(t *testing.T, b Broker) {
		topic := b.Name(t)
		b.CreateTopic(t, topic, 3, map[string]string{"retention.ms": "-1"})
		var want []*kgo.Record
		for i := range 50 {
			want = append(want, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")})
		}
		b.Produce(t, want...)
		if got := b.ReadAll(t, topic, true); len(got) != len(want) {
			t.Errorf("read %d records, wrote %d", len(got), len(want))
		}
	})
}

func TestReadAllPassesMarkersAndAborted(t *testing.T) {
	Each(t, func(t *testing.T, b Broker) {
		topic := b.Name(t)
		b.CreateTopic(t, topic, 1, nil)
		transact := func(id string, commit kgo.TransactionEndTry) {
			cl := b.Client(t, kgo.TransactionalID(id))
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(id)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := cl.EndTransaction(t.Context(), commit); err != nil {
				t.Fatal(err)
			}
			// Markers land after EndTxn is answered; the next transaction's record must come behind this one's.
			for deadline := time.Now().Add(time.Minute); b.End(t, topic, 0, true) != b.End(t, topic, 0, false); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("a transaction's marker does not land")
				}
			}
		}
		transact(b.Name(t), kgo.TryCommit)
		transact(b.Name(t), kgo.TryAbort)
		open := b.Client(t, kgo.TransactionalID(b.Name(t)))
		if err := open.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("open")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if got := len(b.ReadAll(t, topic, true)); got != 1 {
			t.Errorf("%d committed records, want 1", got)
		}
		if got := len(b.ReadAll(t, topic, false)); got != 3 {
			t.Errorf("%d records, want 3", got)
		}
		if high, stable := b.End(t, topic, 0, false), b.End(t, topic, 0, true); high != 5 || stable != 4 {
			t.Errorf("high-water mark %d, last stable offset %d; want 5 and 4", high, stable)
		}
	})
}

func TestOwnBrokerKeepsItsDataOverKills(t *testing.T) {
	EachOwn(t, Options{}, func(t *testing.T, p *Process) {
		topic := p.Name(t)
		p.CreateTopic(t, topic, 1, nil)
		p.Produce(t, &kgo.Record{Topic: topic, Value: []byte("1")})
		p.Kill9(t)
		p.Start(t)
		p.Produce(t, &kgo.Record{Topic: topic, Value: []byte("2")})
		p.Stop(t)
		p.Start(t)
		if got := len(p.ReadAll(t, topic, true)); got != 2 {
			t.Errorf("%d records after a kill and a stop, want 2", got)
		}
		p.Pause(t)
		cl := p.Client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := cl.Ping(ctx); err == nil {
			t.Error("a paused broker answered")
		}
		p.Continue(t)
		if err := p.Client(t).Ping(t.Context()); err != nil {
			t.Errorf("after Continue: %v", err)
		}
	})
}

func TestOwnBrokerWithTLSAndUsers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts seven brokers")
	}
	for name, o := range map[string]Options{
		"tls":       {TLS: true},
		"mtls":      {TLS: true, ClientCertificates: true},
		"plain":     {Users: []broker.User{{Mechanism: "PLAIN", Name: "alice", Password: "a-secret"}}},
		"scram+tls": {TLS: true, Users: []broker.User{{Mechanism: "SCRAM-SHA-512", Name: "bob", Password: "b-secret"}}},
	} {
		t.Run(name, func(t *testing.T) {
			EachOwn(t, o, func(t *testing.T, p *Process) {
				topic := p.Name(t)
				p.CreateTopic(t, topic, 1, nil)
				p.Produce(t, &kgo.Record{Topic: topic, Value: []byte("1")})
				if got := len(p.ReadAll(t, topic, true)); got != 1 {
					t.Errorf("%d records, want 1", got)
				}
				stranger, err := kgo.NewClient(kgo.SeedBrokers(p.Addr()), kgo.RequestRetries(0))
				if err != nil {
					t.Fatal(err)
				}
				defer stranger.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if err := stranger.Ping(ctx); err == nil {
					t.Error("a client without credentials was let in")
				}
			})
		})
	}
}
