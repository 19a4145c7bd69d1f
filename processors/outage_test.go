package processors_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/test/torture/faulty"
)

// TestBrokerOutages: the broker is killed, stopped, and made to stand still under load. Work resumes by itself, and each
// command has had its outcome once.
func TestBrokerOutages(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, b *kafkatest.Process) {
		app, seed := b.Name(t), rand.Uint64()
		t.Logf("seed %d", seed)
		c := config(t, b.Broker)
		c.SessionTimeout = 3 * time.Second
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		w := newWorkload(app, seed, 50)
		for _, outage := range []struct {
			name string
			do   func()
		}{
			{"kill -9", func() { b.Kill9(t); b.Start(t) }},
			{"a stop", func() { b.Stop(t); b.Start(t) }},
			{"4 s of silence", func() { b.Pause(t); time.Sleep(4 * time.Second); b.Continue(t) }},
		} {
			b.Produce(t, w.add(1000)...)
			time.Sleep(30 * time.Millisecond) // in the middle of them
			outage.do()
			back := time.Now()
			b.Produce(t, w.add(100)...)
			w.await(t, b.Broker, 60*time.Second)
			t.Logf("%s: all is processed %s after the broker is back", outage.name, time.Since(back).Round(10*time.Millisecond))
		}
		w.compareState(t, b.Broker)
		stop()
	})
}

// TestStopWhileTheBrokerIsAway takes no longer than a deployment waits.
func TestStopWhileTheBrokerIsAway(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, b *kafkatest.Process) {
		app := b.Name(t)
		c := config(t, b.Broker)
		p, err := processors.New(mustLedger(t, app), c)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		w := newWorkload(app, 1, 50)
		b.Produce(t, w.add(5000)...)
		b.Pause(t)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("stopping took %s", took)
		}
		b.Continue(t)
		again(t, b.Broker, c, w, 100)
	})
}

// TestStartsOverBadConnections: once there was a broker, no lost connection ends the start, also one that is closed before its
// first answer, as by a load balancer whose broker is away.
func TestStartsOverBadConnections(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		proxy, err := faulty.New(b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		c := config(t, b)
		c.Kafka.Brokers, c.Kafka.RequestTimeout = []string{proxy.Addr()}, 2*time.Second
		p, err := processors.New(mustLedger(t, b.Name(t)), c)
		if err != nil {
			t.Fatal(err)
		}
		proxy.LoseReplies(faulty.InitProducerID, 3)
		over := make(chan struct{})
		go func() {
			defer close(over)
			for deadline := time.Now().Add(10 * time.Second); proxy.Counts().RepliesLost == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // until there was a broker
			}
			for range 4 {
				proxy.Refuse(true)
				proxy.Cut()
				time.Sleep(200 * time.Millisecond)
				proxy.Refuse(false)
				time.Sleep(100 * time.Millisecond)
			}
		}()
		stop := run(t, p)
		<-over
		if proxy.Counts().RepliesLost == 0 {
			t.Error("no reply was lost")
		}
		stop()
	})
}
