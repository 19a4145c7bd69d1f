package calculator

import (
	"fmt"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

// Command is what a client wants: to create a value, or to update one.
type Command struct {
	ID        string  `json:"id"`
	Action    string  `json:"action"` // CreateValue or UpdateValue
	Data      Request `json:"data"`
	Timestamp int64   `json:"timestamp"` // milliseconds since the epoch
}

// Request is the data of a Command. Operation is UpdateValue's: ADD or MULTIPLY.
type Request struct {
	ValueID   string `json:"value-id"`
	Operation string `json:"operation,omitempty"`
	Value     Number `json:"value"`
}

// Event is what has happened to a value. Its timestamp is its command's.
type Event struct {
	ID        string `json:"id"`        // derived from the command's: the same in every replay
	ParentID  string `json:"parent-id"` // the command's
	Action    string `json:"action"`    // ValueCreated or ValueUpdated
	Data      Change `json:"data"`
	Timestamp int64  `json:"timestamp"`
}

// Change is the data of an Event. Operation and Result are ValueUpdated's; Value is then the operand.
type Change struct {
	ValueID   string `json:"value-id"`
	Operation string `json:"operation,omitempty"`
	Value     Number `json:"value"`
	Result    Number `json:"result,omitzero"`
}

// Value is the state of one value.
type Value struct {
	Value Number `json:"value"`
}

// The topics of the calculator. The key of every record is the value's id.
var (
	Commands   = topology.NewTopic("calculator-commands", codecs.String(), codecs.JSON[Command](), topology.Forever())
	Events     = topology.NewTopic("calculator-events", codecs.String(), codecs.JSON[Event](), topology.Forever())
	Rejections = topology.NewTopic("calculator-rejections", codecs.String(), codecs.JSON[topology.Rejection](), topology.Forever())
)

// decider is the whole of the business logic.
var decider = topology.Decider[string, Command, Event, Value]{
	ID:     func(c Command) string { return c.ID },
	Key:    func(c Command) string { return c.Data.ValueID },
	Decide: decide,
	Evolve: evolve,
}

// decide validates a command and says what happens. It changes nothing.
func decide(state Value, found bool, c Command) topology.Decision[Event] {
	event := Event{ID: topology.DeriveID(c.ID, 0), ParentID: c.ID, Timestamp: c.Timestamp}
	event.Data = Change{ValueID: c.Data.ValueID, Value: c.Data.Value}
	switch {
	case c.Data.ValueID == "" || c.Data.Value.IsZero():
		return topology.Reject[Event](topology.Invalid, "a command needs a value-id and a value")
	case c.Action == "CreateValue" && found:
		return topology.Reject[Event](topology.Conflict, fmt.Sprintf("value with id %s already exists", c.Data.ValueID))
	case c.Action == "CreateValue":
		event.Action = "ValueCreated"
		return topology.Accept(event)
	case c.Action != "UpdateValue":
		return topology.Reject[Event](topology.Invalid, fmt.Sprintf("unknown action %q; want CreateValue or UpdateValue", c.Action))
	case !found:
		return topology.Reject[Event](topology.NotFound, fmt.Sprintf("value with id %s does not exist", c.Data.ValueID))
	}
	result, err := c.Data.Value.apply(c.Data.Operation, state.Value)
	if err != nil {
		return topology.Reject[Event](topology.Invalid, err.Error())
	}
	event.Action, event.Data.Operation, event.Data.Result = "ValueUpdated", c.Data.Operation, result
	return topology.Accept(event)
}

// evolve returns the value after an event. It refuses nothing: the event has happened.
func evolve(_ Value, _ bool, e Event) Value {
	if e.Action == "ValueUpdated" {
		return Value{Value: e.Data.Result}
	}
	return Value{Value: e.Data.Value}
}

// Topology returns the calculator as a topology, and the table of its values for views.
func Topology() (*topology.Topology, topology.Table[string, Value], error) {
	b := topology.New("calculator")
	decided := b.From(Commands).Decide("values", decider)
	decided.Events.To(Events)
	decided.Rejections.To(Rejections)
	calculator, err := b.Build()
	return calculator, decided.State, err
}
