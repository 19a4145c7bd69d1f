package ordering_test

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/ordering/orderingtest"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

// shopper is a customer who orders over HTTP: one request after the other, each under an idempotency key, some of them twice.
// It keeps what it was told.
type shopper struct {
	customer string
	rand     *rand.Rand
	sent     int
	open     map[string]string // label and price, by id
	closed   []string
}

func newShopper(seed uint64, index int) *shopper {
	return &shopper{customer: fmt.Sprintf("web-%02d", index), rand: rand.New(rand.NewPCG(seed, uint64(index))), open: map[string]string{}}
}

// next sends the next request and returns what is wrong with the answer.
func (c *shopper) next(s *running) error {
	c.sent++
	key := fmt.Sprintf("%s-%d", c.customer, c.sent)
	var method, path, body, id string
	want := http.StatusCreated
	switch dice := c.rand.IntN(10); {
	case dice < 3 && len(c.open) > 0:
		ids := slices.Sorted(maps.Keys(c.open))
		id = ids[c.rand.IntN(len(ids))]
		method, path, want = http.MethodDelete, "/orders/"+id+"?customerId="+c.customer, http.StatusOK
	case dice == 3 && len(c.closed) > 0:
		method, path, want = http.MethodDelete, "/orders/"+c.closed[c.rand.IntN(len(c.closed))]+"?customerId="+c.customer, http.StatusConflict
	case dice == 4:
		method, path, want = http.MethodDelete, "/orders/"+key+"?customerId="+c.customer, http.StatusNotFound
	default:
		price := ordering.Money(c.rand.Int64N(12_000))
		body = fmt.Sprintf(`{"customerId":%q,"itemLabel":"item %d","itemPrice":%s}`, c.customer, c.rand.IntN(20), price)
		method, path = http.MethodPost, "/orders"
	}
	for range 1 + c.rand.IntN(8)/7 { // a client that has not heard tries again, and is told the same
		got, err := s.send(method, path, body, "Idempotency-Key", key, "Prefer", "wait=30")
		if err != nil {
			return err
		}
		if got.status != want {
			return fmt.Errorf("%s %s %s under %s: %d, %s; want %d", method, path, body, key, got.status, got.body, want)
		}
		if want == http.StatusCreated {
			var order struct{ OrderID, ItemLabel, ItemPrice jsonText }
			if err := json.Unmarshal([]byte(got.body), &order, json.MatchCaseInsensitiveNames(true)); err != nil {
				return fmt.Errorf("%s: %w", got.body, err)
			}
			if before, known := c.open[string(order.OrderID)]; known && before != string(order.ItemLabel+" "+order.ItemPrice) || id != "" && id != string(order.OrderID) {
				return fmt.Errorf("%s under %s is another order than before: %s", body, key, got.body)
			}
			id = string(order.OrderID)
			c.open[id] = string(order.ItemLabel + " " + order.ItemPrice)
		}
	}
	if want == http.StatusOK {
		delete(c.open, id)
		c.closed = append(c.closed, id)
	}
	return nil
}

// jsonText is a value as its text in JSON.
type jsonText string

// UnmarshalJSON takes any value.
func (t *jsonText) UnmarshalJSON(text []byte) error {
	*t = jsonText(strings.Trim(string(text), `"`))
	return nil
}

// shop has all shoppers send so many requests each, side by side.
func shop(s *running, shoppers []*shopper, each int) error {
	var wait sync.WaitGroup
	errs := make([]error, len(shoppers))
	for i, c := range shoppers {
		wait.Go(func() {
			for range each {
				if errs[i] = c.next(s); errs[i] != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// adopt applies the shoppers' commands to the model, as they are in the log, and returns where a shopper was told something else.
func adopt(t *testing.T, broker kafkatest.Broker, model *orderingtest.Model, shoppers []*shopper) error {
	t.Helper()
	for _, record := range broker.ReadAll(t, ordering.Commands.Name(), true) {
		command, err := ordering.Commands.Value().Decode(record.Value)
		if err != nil || !strings.HasPrefix(command.Data.CustomerID, "web-") {
			continue // written straight to the topic, and known
		}
		model.Apply(command, fmt.Sprint(command.Action, command.Data))
	}
	for _, c := range shoppers {
		open := model.Open(c.customer)
		if len(open) != len(c.open) {
			return fmt.Errorf("%s was told of %d open orders, and the log has %d", c.customer, len(c.open), len(open))
		}
		for id, order := range open {
			if got := order.ItemLabel + " " + order.ItemPrice.String(); got != c.open[id] {
				return fmt.Errorf("%s's order %s is %s in the log, and was told to be %s", c.customer, id, got, c.open[id])
			}
		}
	}
	return nil
}
