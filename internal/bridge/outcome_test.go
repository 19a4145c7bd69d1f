package bridge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

// TestRule04LostAnswer: the answer to a transaction's end is lost. The group's stable offsets tell that it has happened, and
// the session goes on.
func TestRule04LostAnswer(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c, f := lossy(t, b, loseAnswer)
		stop := c.run()
		c.produce(50)
		c.counted()
		f.arm(true)
		c.produce(50)
		c.await("the answer is lost", func() bool { return f.cut() > 0 })
		c.counted() // it has happened all the same
		c.await("it is found out", func() bool { return f.initialised() })
		f.arm(false)
		c.produce(50)
		c.counted()
		stop()
		if failures := c.watch.failed(); len(failures) > 0 {
			t.Errorf("a transaction that has happened has ended a session: %v", failures)
		}
	})
}

// TestRule04LostRequest: the request to end a transaction is lost. It has not happened; its input is stepped again.
func TestRule04LostRequest(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c, f := lossy(t, b, loseRequest)
		stop := c.run()
		c.produce(50)
		c.counted()
		f.arm(true)
		c.produce(50)
		c.await("it is found out", func() bool { return f.initialised() })
		f.arm(false)
		c.counted()
		c.produce(50)
		c.counted()
		stop()
		if failures := c.watch.failed(); len(failures) != 1 || !errors.Is(failures[0], commit.ErrAborted) {
			t.Errorf("the session ended with %v, want ErrAborted", failures)
		}
	})
}

// lossy is a counting sub-topology whose producers lose ends of transactions when armed.
func lossy(t *testing.T, b kafkatest.Broker, lose loss) (*counting, *faulty) {
	c, f := newCounting(t, b, 2), &faulty{key: kmsg.EndTxn, lose: lose}
	c.config.Log.RequestTimeout = time.Second // how long the client itself tries
	c.options = []kgo.Opt{kgo.Dialer(f.dial)}
	return c, f
}

// initialised tells whether an id was initialised after the last cut.
func (f *faulty) initialised() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cuts == 0 {
		return false
	}
	for i := len(f.requests) - 1; i >= 0; i-- {
		switch kmsg.Key(f.requests[i]) {
		case kmsg.InitProducerID:
			return true
		case kmsg.EndTxn:
			return false
		}
	}
	return false
}

// awaits tells whether a request of a kind has no answer yet.
func (f *faulty) awaits(key kmsg.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[int16(key)] > 0
}
