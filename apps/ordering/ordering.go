package ordering

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
)

// Command is what a customer wants: to place an order, or to cancel one.
type Command struct {
	ID        string  `json:"id"`
	Action    string  `json:"action"` // PlaceOrder or CancelOrder
	Data      Request `json:"data"`
	Timestamp int64   `json:"timestamp"` // milliseconds since the epoch
}

// Request is the data of a Command. Label and price are PlaceOrder's. The customer of CancelOrder may be left out; given, the
// order must be that customer's.
type Request struct {
	OrderID    string    `json:"order-id"`
	CustomerID string    `json:"customer-id,omitempty"`
	ItemLabel  string    `json:"item-label,omitempty"`
	ItemPrice  PriceText `json:"item-price,omitempty"`
}

// Event is what has happened to an order. It carries the whole order, so that readers need no state of their own to tell
// whose it was. Its timestamp is its command's.
type Event struct {
	ID        string  `json:"id"`        // derived from the command's: the same in every replay
	ParentID  string  `json:"parent-id"` // the command's
	Action    string  `json:"action"`    // OrderPlaced or OrderCancelled
	Data      Details `json:"data"`
	Timestamp int64   `json:"timestamp"`
}

// Details are what an order says.
type Details struct {
	OrderID    string `json:"order-id"`
	CustomerID string `json:"customer-id"`
	ItemLabel  string `json:"item-label"`
	ItemPrice  Money  `json:"item-price"`
	PlacedAt   int64  `json:"placed-at"` // milliseconds since the epoch
}

// Order is the state of one order on the command side. A cancelled one stays: its id is not free again.
type Order struct {
	Details
	Cancelled bool `json:"cancelled,omitempty"`
}

// The actions of commands and events.
const (
	PlaceOrder     = "PlaceOrder"
	CancelOrder    = "CancelOrder"
	OrderPlaced    = "OrderPlaced"
	OrderCancelled = "OrderCancelled"
)

// The topics of ordering. The key of every record is the order's id.
var (
	Commands   = topology.NewTopic("ordering-commands", codecs.String(), codecs.JSON[Command](), topology.Forever())
	Events     = topology.NewTopic("ordering-events", codecs.String(), codecs.JSON[Event](), topology.Forever())
	Rejections = topology.NewTopic("ordering-rejections", codecs.String(), codecs.JSON[topology.Rejection](), topology.Forever())
)

// Group is the consumer group by which the processor reads commands.
const Group = "ordering-commands"

// DeadLetters is where commands go that cannot be processed.
const DeadLetters = "ordering-dead-letters"

// decider is the whole of the business logic of the command side.
var decider = topology.Decider[string, Command, Event, Order]{
	ID:     func(c Command) string { return c.ID },
	Key:    func(c Command) string { return c.Data.OrderID },
	Decide: decide,
	Evolve: evolve,
}

// decide validates a command and says what happens. It changes nothing.
func decide(state Order, found bool, c Command) topology.Decision[Event] {
	event := Event{ID: topology.DeriveID(c.ID, 0), ParentID: c.ID, Timestamp: c.Timestamp}
	switch c.Action {
	case PlaceOrder:
		details, err := validate(c)
		if err != nil {
			return topology.Reject[Event](topology.Invalid, err.Error())
		}
		if found {
			return topology.Reject[Event](topology.Conflict, fmt.Sprintf("an order with id %.80s exists already", c.Data.OrderID))
		}
		event.Action, event.Data = OrderPlaced, details
		return topology.Accept(event)
	case CancelOrder:
		// Whose order it is must not be found out by trying.
		if !found || c.Data.CustomerID != "" && c.Data.CustomerID != state.CustomerID {
			return topology.Reject[Event](topology.NotFound, fmt.Sprintf("there is no order with id %.80s", c.Data.OrderID))
		}
		if state.Cancelled {
			return topology.Reject[Event](topology.Conflict, fmt.Sprintf("the order with id %.80s is cancelled already", c.Data.OrderID))
		}
		event.Action, event.Data = OrderCancelled, state.Details
		return topology.Accept(event)
	}
	return topology.Reject[Event](topology.Invalid, fmt.Sprintf("unknown action %.40q; want %s or %s", c.Action, PlaceOrder, CancelOrder))
}

// evolve returns the order after an event. It refuses nothing: the event has happened.
func evolve(_ Order, _ bool, e Event) Order {
	return Order{Details: e.Data, Cancelled: e.Action == OrderCancelled}
}

// The bounds of texts, in characters.
const (
	maxOrderID    = 64
	maxCustomerID = 128
	maxLabel      = 200
)

// fault says which member of a command is wrong, by its name in HTTP, and how.
type fault struct{ member, text string }

// Error returns what is wrong.
func (f *fault) Error() string { return f.text }

// validate returns the order that PlaceOrder asks for, or a *fault.
func validate(c Command) (Details, error) {
	price, err := ParsePrice(string(c.Data.ItemPrice))
	switch {
	case !isOrderID(c.Data.OrderID):
		return Details{}, &fault{"orderId", "an order id is 1 to 64 letters, digits and any of . _ ~ -"}
	case !isCustomerID(c.Data.CustomerID):
		return Details{}, &fault{"customerId", "a customer id is 1 to 128 characters, without control characters and without space at its ends, and not . or .."}
	case !isText(c.Data.ItemLabel, maxLabel):
		return Details{}, &fault{"itemLabel", "an item's label is 1 to 200 characters, without control characters and without space at its ends"}
	case err != nil:
		return Details{}, &fault{"itemPrice", err.Error()}
	}
	return Details{
		OrderID: c.Data.OrderID, CustomerID: c.Data.CustomerID, ItemLabel: c.Data.ItemLabel, ItemPrice: price, PlacedAt: c.Timestamp,
	}, nil
}

// isOrderID reports whether a text can stand for an order in a URL without being escaped (RFC 3986, section 2.3).
func isOrderID(text string) bool {
	if text == "" || text == "." || text == ".." || len(text) > maxOrderID {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._~-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// isCustomerID reports whether a text names a customer. In a path, . and .. would be somebody else's or nobody's, escaped or not
// (RFC 3986, section 5.2.4).
func isCustomerID(text string) bool {
	return text != "." && text != ".." && isText(text, maxCustomerID)
}

// isText reports whether a text is one that a person can tell from others.
func isText(text string, limit int) bool {
	return text != "" && utf8.ValidString(text) && utf8.RuneCountInString(text) <= limit &&
		strings.TrimSpace(text) == text && strings.IndexFunc(text, unicode.IsControl) < 0
}

// Topology returns the command side as a topology, and the table of its orders.
func Topology() (*topology.Topology, topology.Table[string, Order], error) {
	b := topology.New("ordering")
	decided := b.From(Commands).Decide("orders", decider)
	decided.Events.To(Events)
	decided.Rejections.To(Rejections)
	ordering, err := b.Build()
	return ordering, decided.State, err
}
