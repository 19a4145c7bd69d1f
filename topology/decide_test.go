package topology_test

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

type command struct {
	ID  string `json:"id"`
	Add int    `json:"add"`
}

func counter() topology.Decider[string, command, int, int] {
	return topology.Decider[string, command, int, int]{
		ID: func(c command) string { return c.ID },
		Decide: func(_ int, found bool, c command) topology.Decision[int] {
			if !found && c.Add < 0 {
				return topology.Reject[int](topology.NotFound, "there is nothing to take from")
			}
			return topology.Accept(c.Add)
		},
		Evolve: func(state int, _ bool, event int) int { return state + event },
	}
}

func TestDecideSmoke(t *testing.T) {
	b := topology.New("counter")
	decided := b.From(topology.NewTopic("counter-commands", codecs.String(), codecs.JSON[command]())).Decide("sums", counter())
	decided.Events.To(topology.NewTopic("counter-events", codecs.String(), codecs.JSON[int]()))
	decided.Rejections.To(topology.NewTopic("counter-rejections", codecs.String(), codecs.JSON[topology.Rejection]()))
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	run, err := task.New(task.Config{SubTopology: built.Graph().SubTopologies[0], Partitions: 1, Base: store.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []string{`{"id":"a","add":1}`, `{"id":"b","add":2}`, `{"id":"a","add":1}`, `{"id":"a","add":7}`, `{broken`} {
		if err := run.Step(task.Record{Topic: "counter-commands", Offset: int64(i), Timestamp: 1000, Key: []byte("k"), Value: []byte(c)}); err != nil {
			t.Fatal(err)
		}
	}
	layer := run.Seal()
	got := ""
	for _, output := range append(layer.Outputs, layer.Changelog...) {
		got += fmt.Sprintf("%s %s\n", output.Topic, output.Value)
	}
	want := `counter-events 1
counter-events 2
counter-rejections {"id":"` + topology.DeriveID("a", -1) + `","parent-id":"a","action":"CommandRejected","data":{"kind":"idempotency-conflict","reason":"another command was sent under this id before; choose a new Idempotency-Key for a new command"},"timestamp":1000}
counter-dead-letters {broken
counter-sums-changelog 1
counter-sums-changelog 3
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
