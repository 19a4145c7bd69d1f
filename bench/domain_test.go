package bench

import (
	"fmt"
	"math"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

const partitions = 4

type data struct {
	ID        string  `json:"value-id"`
	Operation string  `json:"operation,omitempty"`
	Value     float64 `json:"value"`
	Result    float64 `json:"result,omitempty"`
}
type command struct {
	ID        string `json:"id"`
	Action    string `json:"action"`
	Data      data   `json:"data"`
	Timestamp int64  `json:"timestamp"`
}
type event struct {
	ID        string `json:"id"`
	ParentID  string `json:"parent-id"`
	Action    string `json:"action"`
	Data      data   `json:"data"`
	Timestamp int64  `json:"timestamp"`
}

func calculator() (*topology.Topology, error) {
	b := topology.New("calculator")
	commands := topology.NewTopic("calculator-commands", codecs.String(), codecs.JSON[command](), topology.Forever())
	events := topology.NewTopic("calculator-events", codecs.String(), codecs.JSON[event](), topology.Forever())
	rejections := topology.NewTopic("calculator-rejections", codecs.String(), codecs.JSON[topology.Rejection]())
	decided := b.From(commands).Decide("values", topology.Decider[string, command, event, float64]{
		ID:  func(c command) string { return c.ID },
		Key: func(c command) string { return c.Data.ID },
		Decide: func(v float64, found bool, c command) topology.Decision[event] {
			e := event{ID: topology.DeriveID(c.ID, 0), ParentID: c.ID, Data: c.Data, Timestamp: c.Timestamp}
			switch {
			case c.Action == "CreateValue" && found:
				return topology.Reject[event](topology.Conflict, fmt.Sprintf("value with id %s exists already", c.Data.ID))
			case c.Action == "CreateValue":
				e.Action = "ValueCreated"
				return topology.Accept(e)
			case !found:
				return topology.Reject[event](topology.NotFound, fmt.Sprintf("value with id %s does not exist", c.Data.ID))
			}
			e.Action, e.Data.Result = "ValueUpdated", v+c.Data.Value
			if c.Data.Operation == "MULTIPLY" {
				e.Data.Result = v * c.Data.Value
			}
			if math.IsInf(e.Data.Result, 0) {
				return topology.Reject[event](topology.Invalid, "overflow")
			}
			return topology.Accept(e)
		},
		Evolve: func(_ float64, found bool, e event) float64 {
			if !found {
				return e.Data.Value
			}
			return e.Data.Result
		},
	})
	decided.Events.To(events)
	decided.Rejections.To(rejections)
	return b.Build()
}
