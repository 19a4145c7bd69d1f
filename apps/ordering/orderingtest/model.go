// Package orderingtest holds what tests of ordering share: a sequential model that says what must become of commands and
// what a customer must see, and a generator of random commands.
package orderingtest

import (
	"math/big"
	"regexp"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/topology"
)

// Verdict is what must become of a command.
type Verdict struct {
	// Event is what it must lead to; nil where it is rejected or repeated.
	Event *ordering.Event
	// Kind is why it must be rejected; empty where it is not.
	Kind topology.RejectionKind
	// Repeated says that the command was seen before: it leaves nothing.
	Repeated bool
}

// Model is ordering as a person would write it for one thread and no failures: the oracle for random tests. It shares no
// code with ordering but the messages. The zero Model is empty. It is not safe for concurrent use.
type Model struct {
	orders map[string]ordering.Order
	seen   map[string]string // fingerprints by command id
}

// Orders returns all orders by id, cancelled ones too. It is the model's own map.
func (m *Model) Orders() map[string]ordering.Order { return m.orders }

// Open returns a customer's orders that are not cancelled, by id.
func (m *Model) Open(customer string) map[string]ordering.Details {
	open := map[string]ordering.Details{}
	for id, order := range m.orders {
		if order.CustomerID == customer && !order.Cancelled {
			open[id] = order.Details
		}
	}
	return open
}

// Bucket returns the bucket of a price as the texts have it: cheap below £5, affordable from £5 to £50, expensive above.
func Bucket(price ordering.Money) string {
	switch {
	case price <= 499:
		return "CHEAP"
	case price >= 5001:
		return "EXPENSIVE"
	}
	return "AFFORDABLE"
}

// Apply takes the next command of the log. The fingerprint tells two bodies under one id apart.
func (m *Model) Apply(c ordering.Command, fingerprint string) Verdict {
	if m.orders == nil {
		m.orders, m.seen = map[string]ordering.Order{}, map[string]string{}
	}
	if first, known := m.seen[c.ID]; known {
		if first != fingerprint {
			return Verdict{Kind: topology.IdempotencyConflict}
		}
		return Verdict{Repeated: true}
	}
	m.seen[c.ID] = fingerprint
	event := &ordering.Event{ID: topology.DeriveID(c.ID, 0), ParentID: c.ID, Timestamp: c.Timestamp}
	present, found := m.orders[c.Data.OrderID]
	switch {
	case c.Action == "PlaceOrder":
		price, ok := pence(string(c.Data.ItemPrice))
		if !ok || c.Data.CustomerID == "" || c.Data.ItemLabel == "" {
			return Verdict{Kind: topology.Invalid}
		}
		if found {
			return Verdict{Kind: topology.Conflict}
		}
		event.Action = "OrderPlaced"
		event.Data = ordering.Details{
			OrderID: c.Data.OrderID, CustomerID: c.Data.CustomerID, ItemLabel: c.Data.ItemLabel, ItemPrice: price, PlacedAt: c.Timestamp,
		}
		m.orders[c.Data.OrderID] = ordering.Order{Details: event.Data}
	case c.Action == "CancelOrder":
		if !found || c.Data.CustomerID != "" && c.Data.CustomerID != present.CustomerID {
			return Verdict{Kind: topology.NotFound}
		}
		if present.Cancelled {
			return Verdict{Kind: topology.Conflict}
		}
		event.Action, event.Data = "OrderCancelled", present.Details
		present.Cancelled = true
		m.orders[c.Data.OrderID] = present
	default:
		return Verdict{Kind: topology.Invalid}
	}
	return Verdict{Event: event}
}

var number = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?$`)

// pence reads a price by rational arithmetic.
func pence(text string) (ordering.Money, bool) {
	if !number.MatchString(text) {
		return 0, false
	}
	amount, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, false
	}
	amount.Mul(amount, big.NewRat(100, 1))
	if !amount.IsInt() || amount.Sign() < 0 || amount.Cmp(big.NewRat(100_000_000, 1)) > 0 {
		return 0, false
	}
	return ordering.Money(amount.Num().Int64()), true
}
