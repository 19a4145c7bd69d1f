package processors_test

import (
	"encoding/json/v2"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// bag is a state that its decider changes in place.
type bag struct {
	Items map[string]int `json:"items"`
}

// bags counts what is put into bags; each event has the whole bag in it.
func bags(t *testing.T, app string) *topology.Topology {
	t.Helper()
	b := topology.New(app)
	decided := b.From(topology.NewTopic(app+"-commands", codecs.String(), codecs.JSON[entry](), topology.Partitions(1))).
		Decide("bags", topology.Decider[string, entry, bag, bag]{
			ID: func(e entry) string { return e.ID },
			Decide: func(state bag, found bool, e entry) topology.Decision[bag] {
				if !found {
					state.Items = map[string]int{}
				}
				state.Items[fmt.Sprint(e.Add)]++ // in place: validated before, but still a bad habit
				return topology.Accept(state)
			},
			Evolve: func(_ bag, _ bool, event bag) bag {
				event.Items["evolved"]++
				return event
			},
		})
	decided.Events.To(topology.NewTopic(app+"-events", codecs.String(), codecs.JSON[bag]()))
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// TestRule07MutableState: a decider that changes its state in place leaks nothing into another layer, though transactions are
// aborted under it.
func TestRule07MutableState(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app := b.Name(t)
		p, err := processors.New(bags(t, app), config(t, b))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		const rounds, round = 6, 200
		for i := range rounds {
			var records []*kgo.Record
			for n := range round {
				id := i*round + n
				records = append(records, &kgo.Record{Topic: app + "-commands", Key: fmt.Appendf(nil, "bag-%d", id%3), Value: fmt.Appendf(nil, `{"id":"c%d","add":%d}`, id, id%5)})
			}
			b.Produce(t, records...)
			if err := admin(t, b).AbortTransactions(t.Context(), fmt.Sprintf("%s-commands:one:%d", app, i%2)); err != nil {
				t.Fatal(err)
			}
		}
		events := 0
		for deadline := time.Now().Add(30 * time.Second); events < rounds*round && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			events = len(b.ReadAll(t, app+"-events", true))
		}
		stop()
		counted := 0
		last := map[string]bag{}
		for _, record := range b.ReadAll(t, app+"-bags-changelog", true) {
			var state bag
			if err := json.Unmarshal(record.Value, &state); err != nil {
				t.Fatal(err)
			}
			last[string(record.Key)] = state
		}
		for _, state := range last {
			for item, n := range state.Items {
				if item != "evolved" {
					counted += n
				} else if n < 1 {
					t.Errorf("nothing evolved: %v", state)
				}
			}
		}
		if events != rounds*round || counted != rounds*round {
			t.Errorf("%d events and a state of %d items of %d commands", events, counted, rounds*round)
		}
	})
}
