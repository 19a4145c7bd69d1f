package bridge_test

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/kafkatest"
	proxies "github.com/tidemill/tidemill/test/torture/faulty"
)

// afterAnswers calls a function once, when so many answers of a kind have come.
type afterAnswers struct {
	key  kmsg.Key
	mu   sync.Mutex
	left int // guarded by mu
	do   func()
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (a *afterAnswers) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if kmsg.Key(key) == a.key && err == nil {
		if a.left--; a.left == 0 {
			a.do()
		}
	}
}

// TestBrokerGoesWhileGroupConnects: the brokers go away when everything is prepared but the group's client is not connected
// yet. Goka would end with a text that says nothing of brokers.
func TestBrokerGoesWhileGroupConnects(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		proxy, err := proxies.New(b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		c := newCounting(t, b, 1)
		c.config.Log.Brokers = []string{proxy.Addr()}
		back := make(chan struct{})
		c.options = append(c.options, kgo.WithHooks(&afterAnswers{key: kmsg.InitProducerID, left: 2, do: func() {
			proxy.Refuse(true)
			proxy.Cut()
			time.AfterFunc(2*time.Second, func() {
				proxy.Refuse(false)
				close(back)
			})
		}}))
		stop := c.run()
		select {
		case <-back:
		default:
			t.Error("the tasks run before the brokers are back")
		}
		stop()
	})
}
