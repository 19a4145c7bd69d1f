package orderingtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/tidemill/tidemill/apps/ordering"
)

// Random makes commands of many customers that go well, are rejected for every reason there is, come twice, and come twice
// with another body. Equal seeds make equal commands. It is not safe for concurrent use.
type Random struct {
	rand      *rand.Rand
	customers int
	now       int64
	recent    []ordering.Command
	placed    []placed
}

// placed is an order that may be cancelled.
type placed struct{ id, customer string }

// remembered is how many commands may be repeated, and orders cancelled.
const remembered = 256

// NewRandom returns a generator for so many customers, beginning at a time in milliseconds since the epoch.
func NewRandom(seed uint64, customers int, start int64) *Random {
	return &Random{rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), customers: customers, now: start}
}

// Customer returns the id of the index-th customer.
func Customer(index int) string { return fmt.Sprintf("customer-%03d", index) }

// Next returns the next command: of a hundred about sixty place an order and thirty cancel one.
func (r *Random) Next() ordering.Command {
	r.now += r.rand.Int64N(3)
	dice := r.rand.IntN(100)
	if dice < 4 && len(r.recent) > 0 {
		again := r.recent[r.rand.IntN(len(r.recent))]
		if dice == 0 {
			again.Data.ItemLabel += "!"
		}
		return again
	}
	command := ordering.Command{ID: r.uuid(), Timestamp: r.now}
	if dice < 34 && len(r.placed) > 0 {
		command.Action, command.Data = "CancelOrder", r.cancellation()
	} else {
		command.Action, command.Data = "PlaceOrder", r.order()
	}
	if dice == 99 {
		command.Action = "ReturnOrder"
	}
	if len(r.recent) < remembered {
		r.recent = append(r.recent, command)
	} else {
		r.recent[r.rand.IntN(remembered)] = command
	}
	return command
}

func (r *Random) uuid() string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], r.rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.rand.Uint64())
	return id.String()
}

// cancellation is of an order that was placed, now and then of another's, of none, or of one that is cancelled.
func (r *Random) cancellation() ordering.Request {
	at := r.rand.IntN(len(r.placed))
	order := r.placed[at]
	request := ordering.Request{OrderID: order.id, CustomerID: order.customer}
	switch r.rand.IntN(12) {
	case 0:
		request.CustomerID = Customer(r.rand.IntN(r.customers))
	case 1:
		request.OrderID = r.uuid()
	case 2:
		request.CustomerID = ""
	case 3: // it stays where it is, and may be cancelled again
	default:
		r.placed = append(r.placed[:at], r.placed[at+1:]...)
	}
	return request
}

// order is one that is taken, mostly; the price is often at a boundary.
func (r *Random) order() ordering.Request {
	request := ordering.Request{
		OrderID: r.uuid(), CustomerID: Customer(r.rand.IntN(r.customers)), ItemLabel: fmt.Sprintf("item %d", r.rand.IntN(50)),
		ItemPrice: r.price(),
	}
	if len(r.placed) > 0 && r.rand.IntN(50) == 0 {
		request.OrderID = r.placed[r.rand.IntN(len(r.placed))].id
		return request
	}
	if len(r.placed) < remembered {
		r.placed = append(r.placed, placed{request.OrderID, request.CustomerID})
	} else {
		r.placed[r.rand.IntN(remembered)] = placed{request.OrderID, request.CustomerID}
	}
	return request
}

func (r *Random) price() ordering.PriceText {
	good := []ordering.PriceText{"0", "0.01", "4.99", "5", "5.00", "5.01", "49.99", "50", "50.00", "50.01", "5e1", "1000000"}
	bad := []ordering.PriceText{"4.999", "-1", "-0.01", "1000000.01", "1e300", "1e999999999", "NaN", "Infinity", "five", "", "5,00", " 5", "true"}
	switch dice := r.rand.IntN(100); {
	case dice < 3:
		return bad[r.rand.IntN(len(bad))]
	case dice < 30:
		return good[r.rand.IntN(len(good))]
	case dice < 65:
		return ordering.PriceText(ordering.Money(r.rand.Int64N(1_000)).String())
	}
	return ordering.PriceText(ordering.Money(r.rand.Int64N(12_000)).String())
}
