package ordering_test

import (
	"flag"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/ordering/orderingtest"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

var seed = flag.Uint64("seed", 20261121, "of the random tests")

const start = 1_700_000_000_000

// bench is the command side in a driver.
type bench struct {
	*topologytest.Driver
	commands   *topologytest.InputTopic[string, ordering.Command]
	events     *topologytest.OutputTopic[string, ordering.Event]
	rejections *topologytest.OutputTopic[string, topology.Rejection]
	orders     *topologytest.StoreView[string, ordering.Order]
}

func newBench(t testing.TB, options ...topologytest.Option) *bench {
	t.Helper()
	built, orders, err := ordering.Topology()
	if err != nil {
		t.Fatal(err)
	}
	driver := topologytest.New(t, built, options...)
	return &bench{
		Driver: driver, commands: topologytest.Input(driver, ordering.Commands), events: topologytest.Output(driver, ordering.Events),
		rejections: topologytest.Output(driver, ordering.Rejections), orders: topologytest.Store(driver, orders),
	}
}

func (b *bench) pipe(c ordering.Command) {
	b.commands.Pipe(c.Data.OrderID, c, topologytest.At(c.Timestamp))
}

func place(id, order, customer, label, price string) ordering.Command {
	return ordering.Command{ID: id, Action: "PlaceOrder", Timestamp: start, Data: ordering.Request{
		OrderID: order, CustomerID: customer, ItemLabel: label, ItemPrice: ordering.PriceText(price),
	}}
}

func cancel(id, order, customer string) ordering.Command {
	return ordering.Command{ID: id, Action: "CancelOrder", Timestamp: start + 1, Data: ordering.Request{OrderID: order, CustomerID: customer}}
}

// An order's life, by the bodies of the records.
func TestBodies(t *testing.T) {
	b := newBench(t)
	b.PipeBytes("ordering-commands", []byte("o-1"), []byte(`{"id":"c-1","action":"PlaceOrder","data":{"order-id":"o-1","customer-id":"alice",`+
		`"item-label":"Tea","item-price":5},"timestamp":1700000000000}`))
	b.PipeBytes("ordering-commands", []byte("o-1"), []byte(`{"id":"c-2","action":"CancelOrder","data":{"order-id":"o-1"},"timestamp":1700000000009}`))
	details := `"data":{"order-id":"o-1","customer-id":"alice","item-label":"Tea","item-price":5.00,"placed-at":1700000000000}`
	for _, want := range []string{
		`{"id":"` + topology.DeriveID("c-1", 0) + `","parent-id":"c-1","action":"OrderPlaced",` + details + `,"timestamp":1700000000000}`,
		`{"id":"` + topology.DeriveID("c-2", 0) + `","parent-id":"c-2","action":"OrderCancelled",` + details + `,"timestamp":1700000000009}`,
	} {
		event := b.events.Read()
		body, err := ordering.Events.Value().Append(nil, event.Value)
		if err != nil || string(body) != want || event.Key != "o-1" {
			t.Errorf("the event of %s is\n%s (%v), want\n%s", event.Key, body, err, want)
		}
	}
	if order, found := b.orders.Get("o-1"); !found || !order.Cancelled || order.CustomerID != "alice" {
		t.Errorf("the order is %+v, %v", order, found)
	}
}

func TestRejections(t *testing.T) {
	long := strings.Repeat("é", 201)
	for _, c := range []struct {
		name    string
		command ordering.Command
		kind    topology.RejectionKind
		reason  string
	}{
		{"an id that is taken", place("c", "o-1", "bob", "Tea", "1"), topology.Conflict, "an order with id o-1 exists already"},
		{"a cancelled order's id", place("c", "o-2", "bob", "Tea", "1"), topology.Conflict, "an order with id o-2 exists already"},
		{"a fraction of a penny", place("c", "o-3", "alice", "Tea", "4.999"), topology.Invalid, "the price 4.999 has more than two places"},
		{"a negative price", place("c", "o-3", "alice", "Tea", "-1"), topology.Invalid, "the price -1 is negative"},
		{"an absurd price", place("c", "o-3", "alice", "Tea", "1e30"), topology.Invalid, "the price 1e30 is beyond any amount of money"},
		{"not a number", place("c", "o-3", "alice", "Tea", "NaN"), topology.Invalid, `the price "NaN" is not an amount in pounds such as 4.99`},
		{"no price", place("c", "o-3", "alice", "Tea", ""), topology.Invalid, "the price is missing"},
		{"no customer", place("c", "o-3", "", "Tea", "1"), topology.Invalid, "a customer id is 1 to 128 characters, without control characters and without space at its ends, and not . or .."},
		{"a customer that no path can name", place("c", "o-3", "..", "Tea", "1"), topology.Invalid, "a customer id is 1 to 128 characters, without control characters and without space at its ends, and not . or .."},
		{"no label", place("c", "o-3", "alice", "", "1"), topology.Invalid, "an item's label is 1 to 200 characters, without control characters and without space at its ends"},
		{"a long label", place("c", "o-3", "alice", long, "1"), topology.Invalid, "an item's label is 1 to 200 characters, without control characters and without space at its ends"},
		{"an id for no URL", place("c", "o/3", "alice", "Tea", "1"), topology.Invalid, "an order id is 1 to 64 letters, digits and any of . _ ~ -"},
		{"cancelling what is not there", cancel("c", "o-3", "alice"), topology.NotFound, "there is no order with id o-3"},
		{"cancelling another's", cancel("c", "o-1", "bob"), topology.NotFound, "there is no order with id o-1"},
		{"cancelling twice", cancel("c", "o-2", "alice"), topology.Conflict, "the order with id o-2 is cancelled already"},
		{"another's that is cancelled", cancel("c", "o-2", "bob"), topology.NotFound, "there is no order with id o-2"},
		{"unknown action", ordering.Command{ID: "c", Action: "ReturnOrder", Data: ordering.Request{OrderID: "o-1"}}, topology.Invalid, `unknown action "ReturnOrder"; want PlaceOrder or CancelOrder`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.pipe(place("first", "o-1", "alice", "Tea", "4.99"))
			b.pipe(place("second", "o-2", "alice", "Pot", "50.00"))
			b.pipe(cancel("third", "o-2", "alice"))
			b.events.ReadAll()
			before := b.orders.All()
			b.pipe(c.command)
			rejection := b.rejections.Read().Value
			if rejection.Data.Kind != c.kind || rejection.Data.Reason != c.reason || rejection.CommandID != "c" {
				t.Errorf("rejected as %+v, want %s: %s", rejection, c.kind, c.reason)
			}
			if !b.events.Empty() || !reflect.DeepEqual(b.orders.All(), before) {
				t.Errorf("something has changed: %v", b.orders.All())
			}
		})
	}
}

// What is no command at all, or not where its order's state is, is set aside.
func TestDeadLetters(t *testing.T) {
	for name, c := range map[string]struct{ key, body string }{
		"no JSON":        {"o-1", "{"},
		"unknown member": {"o-1", `{"id":"c","action":"CancelOrder","data":{"order-id":"o-1","x":1},"timestamp":1}`},
		"another key":    {"o-2", `{"id":"c","action":"CancelOrder","data":{"order-id":"o-1"},"timestamp":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.PipeBytes("ordering-commands", []byte(c.key), []byte(c.body))
			if letters := b.DeadLetters(); len(letters) != 1 || !b.events.Empty() || !b.rejections.Empty() {
				t.Errorf("there are %d dead letters, want 1 and nothing else", len(letters))
			}
		})
	}
}

func TestRandomCommandsAgainstTheModel(t *testing.T) {
	for run := range uint64(5) {
		seed := *seed + run
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			b := newBench(t, topologytest.CommitEvery(int(run*7)+1))
			random := orderingtest.NewRandom(seed, 20, start)
			var model orderingtest.Model
			var events []ordering.Event
			var kinds []topology.RejectionKind
			for range 2000 {
				command := random.Next()
				b.pipe(command)
				verdict := model.Apply(command, body(t, command))
				if verdict.Event != nil {
					events = append(events, *verdict.Event)
				} else if verdict.Kind != "" {
					kinds = append(kinds, verdict.Kind)
				}
			}
			b.Commit()
			if got := b.events.ReadValues(); !reflect.DeepEqual(got, events) || len(events) < 1000 {
				t.Errorf("%d events differ from the %d of the model (-seed %d)", len(got), len(events), seed)
			}
			var got []topology.RejectionKind
			for _, rejection := range b.rejections.ReadValues() {
				got = append(got, rejection.Data.Kind)
			}
			if !reflect.DeepEqual(got, kinds) || len(kinds) < 100 {
				t.Errorf("rejected as %v, want %v (-seed %d)", got, kinds, seed)
			}
			orders := map[string]ordering.Order{}
			for _, row := range b.orders.All() {
				orders[row.Key] = row.Value
			}
			if !reflect.DeepEqual(orders, model.Orders()) {
				t.Errorf("%d orders differ from the %d of the model (-seed %d)", len(orders), len(model.Orders()), seed)
			}
		})
	}
}

func body(t testing.TB, c ordering.Command) string {
	t.Helper()
	encoded, err := ordering.Commands.Value().Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// A crash at any moment of a script of 200 commands changes nothing.
func TestCrashAtEveryStep(t *testing.T) {
	built, _, err := ordering.Topology()
	if err != nil {
		t.Fatal(err)
	}
	random := orderingtest.NewRandom(*seed, 4, start)
	var script []func(*topologytest.Driver)
	for range 200 {
		command := random.Next()
		encoded := []byte(body(t, command))
		script = append(script, func(d *topologytest.Driver) {
			d.PipeBytes("ordering-commands", []byte(command.Data.OrderID), encoded, topologytest.At(command.Timestamp))
		})
	}
	topologytest.EveryStep(t, built, script, topologytest.CommitEvery(7))
}
