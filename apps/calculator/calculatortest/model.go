// Package calculatortest holds what tests of the calculator share: a sequential model that says what must become of
// commands, and a generator of random ones.
package calculatortest

import (
	"math"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/topology"
)

// Verdict is what must become of a command.
type Verdict struct {
	// Event is what it must lead to; nil where it is rejected or repeated.
	Event *calculator.Event
	// Kind is why it must be rejected; empty where it is not.
	Kind topology.RejectionKind
	// Repeated says that the command was seen before: it leaves nothing.
	Repeated bool
}

// Model is the calculator as a person would write it for one thread and no failures: the oracle for random tests. It
// shares no code with the calculator but the messages. The zero Model is empty. It is not safe for concurrent use.
type Model struct {
	values map[string]float64
	seen   map[string]string // fingerprints by command id
}

// Values returns the present values by id. It is the model's own map.
func (m *Model) Values() map[string]float64 { return m.values }

// Apply takes the next command of the log. The fingerprint tells two bodies under one id apart.
func (m *Model) Apply(c calculator.Command, fingerprint string) Verdict {
	if m.values == nil {
		m.values, m.seen = map[string]float64{}, map[string]string{}
	}
	if first, known := m.seen[c.ID]; known {
		if first != fingerprint {
			return Verdict{Kind: topology.IdempotencyConflict}
		}
		return Verdict{Repeated: true}
	}
	m.seen[c.ID] = fingerprint
	present, found := m.values[c.Data.ValueID]
	operand := c.Data.Value.Float64()
	event := &calculator.Event{
		ID: topology.DeriveID(c.ID, 0), ParentID: c.ID, Timestamp: c.Timestamp,
		Data: calculator.Change{ValueID: c.Data.ValueID, Value: c.Data.Value},
	}
	if c.Data.ValueID == "" || c.Data.Value.IsZero() {
		return Verdict{Kind: topology.Invalid}
	}
	switch c.Action {
	case "CreateValue":
		if found {
			return Verdict{Kind: topology.Conflict}
		}
		event.Action = "ValueCreated"
		m.values[c.Data.ValueID] = operand
		return Verdict{Event: event}
	case "UpdateValue":
		if !found {
			return Verdict{Kind: topology.NotFound}
		}
	default:
		return Verdict{Kind: topology.Invalid}
	}
	var result float64
	switch c.Data.Operation {
	case "ADD":
		result = present + operand
	case "MULTIPLY":
		result = present * operand
	default:
		return Verdict{Kind: topology.Invalid}
	}
	if math.IsInf(result, 0) || math.IsNaN(result) {
		return Verdict{Kind: topology.Invalid}
	}
	event.Action, event.Data.Operation, event.Data.Result = "ValueUpdated", c.Data.Operation, calculator.NumberOf(result)
	m.values[c.Data.ValueID] = result
	return Verdict{Event: event}
}
