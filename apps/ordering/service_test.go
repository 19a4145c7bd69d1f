package ordering_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

var placedBody = regexp.MustCompile(`^\{"orderId":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","customerId":"alice","itemLabel":"Tea","itemPrice":4\.99\}$`)

const tea = `{"customerId":"alice","itemLabel":"Tea","itemPrice":4.99}`

// The companion's request, what became of it, and cancelling.
func TestCommandService(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		s := startService(t, ordering.CommandService, config(t, broker.Broker))
		placed := s.ask(http.MethodPost, "/orders", tea)
		match := placedBody.FindStringSubmatch(placed.body)
		command := placed.header.Get("Tidemill-Command-Id")
		if placed.status != http.StatusAccepted || match == nil || placed.header.Get("Location") != "/commands/"+command || placed.header.Get("Tidemill-Token") == "" {
			t.Fatalf("placing an order: %d, %s, %v", placed.status, placed.body, placed.header)
		}
		order := match[1]
		status := s.ask(http.MethodGet, "/commands/"+command, "", "Prefer", "wait=20")
		if status.status != http.StatusOK || !strings.Contains(status.body, `"status":"accepted"`) || !strings.Contains(status.body, `"aggregate":"`+order+`"`) {
			t.Errorf("what became of it: %d, %s", status.status, status.body)
		}
		ofOrder, ofAlice := s.stream("/outcomes?aggregate="+order), s.stream("/outcomes?tag=alice")
		for _, events := range []<-chan event{ofOrder, ofAlice} {
			if got := next(t, events); got.Name != "accepted" || !strings.Contains(got.Data, command) {
				t.Errorf("the stream begins with %+v", got)
			}
		}
		// Another customer's order is nothing to alice's stream; her cancellation is.
		if got := s.ask(http.MethodPost, "/orders", strings.ReplaceAll(tea, "alice", "bob"), "Prefer", "wait=20"); got.status != http.StatusCreated {
			t.Fatalf("bob's order: %d, %s", got.status, got.body)
		}
		for _, c := range []struct {
			path   string
			status int
		}{
			{"/orders/" + order + "?customerId=bob", http.StatusNotFound},
			{"/orders/unknown", http.StatusNotFound},
			{"/orders/" + order + "?customerId=alice", http.StatusOK},
			{"/orders/" + order, http.StatusConflict},
			{"/orders/" + order + "?customerId=a&customerId=b", http.StatusBadRequest},
		} {
			if got := s.ask(http.MethodDelete, c.path, ""); got.status != c.status {
				t.Errorf("DELETE %s: %d, %s; want %d", c.path, got.status, got.body, c.status)
			}
		}
		for _, want := range []string{"rejected", "accepted", "rejected"} { // bob's, alice's and the last one's attempt
			if got := next(t, ofOrder); got.Name != want {
				t.Errorf("the order's stream goes on with %+v, want %s", got, want)
			}
		}
		got := next(t, ofAlice)
		var outcome struct{ Aggregate string }
		if err := json.Unmarshal([]byte(got.Data), &outcome); err != nil || got.Name != "accepted" || outcome.Aggregate != order {
			t.Errorf("alice's stream goes on with %+v, %v", got, err)
		}
	})
}

// A retry under one key is one order; another request under it is refused; a client may choose the id.
func TestIdempotencyAndIDs(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		s := startService(t, ordering.CommandService, config(t, broker.Broker))
		first := s.ask(http.MethodPost, "/orders", tea, "Idempotency-Key", "k", "Prefer", "wait=20")
		again := s.ask(http.MethodPost, "/orders", tea, "Idempotency-Key", "k", "Prefer", "wait=20")
		if first.status != http.StatusCreated || again.status != http.StatusCreated || first.body != again.body ||
			first.header.Get("Location") != "/customers/alice/orders" {
			t.Errorf("a retry: %d, %s and %d, %s", first.status, first.body, again.status, again.body)
		}
		other := s.ask(http.MethodPost, "/orders", strings.ReplaceAll(tea, "4.99", "5"), "Idempotency-Key", "k")
		if other.status != http.StatusUnprocessableEntity {
			t.Errorf("another order under the key: %d, %s", other.status, other.body)
		}
		chosen := `{"customerId":"alice","itemLabel":"Tea","itemPrice":"50","orderId":"my-order.1"}`
		want := `{"orderId":"my-order.1","customerId":"alice","itemLabel":"Tea","itemPrice":50.00}`
		if got := s.ask(http.MethodPost, "/orders", chosen, "Prefer", "wait=20"); got.status != http.StatusCreated || got.body != want {
			t.Errorf("an id of the client's: %d, %s", got.status, got.body)
		}
		if got := s.ask(http.MethodPost, "/orders", chosen, "Prefer", "wait=20"); got.status != http.StatusConflict || got.detail(t) != "an order with id my-order.1 exists already" {
			t.Errorf("the same id again: %d, %s", got.status, got.body)
		}
	})
}

// Nothing of what is wrong at sight reaches the log.
func TestBadOrders(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	s := startService(t, ordering.CommandService, config(t, broker.Broker))
	body := func(price string) string {
		return `{"customerId":"alice","itemLabel":"Tea","itemPrice":` + price + `}`
	}
	for _, c := range []struct {
		name, body string
		status     int
		detail     string
	}{
		{"a fraction of a penny", body("4.999"), 422, "the price 4.999 has more than two places"},
		{"a fraction of a penny as text", body(`"4.999"`), 422, "the price 4.999 has more than two places"},
		{"negative", body("-0.01"), 422, "the price -0.01 is negative"},
		{"absurd", body("1000000.01"), 422, "the price 1000000.01 is more than 1000000.00"},
		{"not a number", body(`"NaN"`), 422, `the price "NaN" is not an amount in pounds such as 4.99`},
		{"NaN", body("NaN"), 400, "malformed JSON"},
		{"huge", body("1e999999999"), 422, "exponent is out of range"},
		{"null", body("null"), 422, "got null, want number or string"},
		{"true", body("true"), 422, "got boolean, want number or string"},
		{"no price", `{"customerId":"alice","itemLabel":"Tea"}`, 422, "this member is missing"},
		{"no customer", `{"itemLabel":"Tea","itemPrice":1}`, 422, "this member is missing"},
		{"an empty customer", `{"customerId":"","itemLabel":"Tea","itemPrice":1}`, 422, "a customer id is"},
		{"a number for a label", `{"customerId":"alice","itemLabel":7,"itemPrice":1}`, 422, "got number, want string"},
		{"a control character", `{"customerId":"alice","itemLabel":"T\u0000","itemPrice":1}`, 422, "an item's label is"},
		{"a wrong id", `{"orderId":"a b","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, 422, "an order id is"},
		{"one member too many", `{"customerId":"alice","itemLabel":"Tea","itemPrice":1,"quantity":2}`, 422, "there is no member of this name"},
		{"no JSON", `{`, 400, "ends too early"},
	} {
		got := s.ask(http.MethodPost, "/orders", c.body)
		if got.status != c.status || !strings.Contains(got.detail(t), c.detail) {
			t.Errorf("%s: %d, %s; want %d, %s", c.name, got.status, got.body, c.status, c.detail)
		}
	}
	long := strings.Repeat("x", 201)
	type headers = []string
	for _, c := range []struct {
		name, method, path, body string
		headers                  headers
		status                   int
	}{
		{"nothing", "POST", "/orders", " ", nil, 400},
		{"an array", "POST", "/orders", "[" + tea + "]", nil, 422},
		{"two bodies", "POST", "/orders", tea + tea, nil, 400},
		{"a member twice", "POST", "/orders", `{"customerId":"alice","customerId":"bob","itemLabel":"Tea","itemPrice":1}`, nil, 400},
		{"invalid UTF-8", "POST", "/orders", "{\"customerId\":\"al\xff\",\"itemLabel\":\"Tea\",\"itemPrice\":1}", nil, 400},
		{"a label too long", "POST", "/orders", `{"customerId":"alice","itemLabel":"` + long + `","itemPrice":1}`, nil, 422},
		{"a customer too long", "POST", "/orders", `{"customerId":"` + long + `","itemLabel":"Tea","itemPrice":1}`, nil, 422},
		{"space before a customer", "POST", "/orders", `{"customerId":" alice","itemLabel":"Tea","itemPrice":1}`, nil, 422},
		{"an empty price", "POST", "/orders", body(`""`), nil, 422},
		{"a price with a comma", "POST", "/orders", body(`"5,00"`), nil, 422},
		{"a price with a space", "POST", "/orders", body(`" 5"`), nil, 422},
		{"a price in pounds", "POST", "/orders", body(`"£5"`), nil, 422},
		{"a price with a plus", "POST", "/orders", body(`"+5"`), nil, 422},
		{"a hexadecimal price", "POST", "/orders", body(`"0x10"`), nil, 422},
		{"an id of dots", "POST", "/orders", `{"orderId":"..","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, nil, 422},
		{"an id too long", "POST", "/orders", `{"orderId":"` + long[:65] + `","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, nil, 422},
		{"an id with a slash", "POST", "/orders", `{"orderId":"a/b","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, nil, 422},
		{"a body too large", "POST", "/orders", `{"customerId":"alice","itemLabel":"` + strings.Repeat("x", 2<<20) + `","itemPrice":1}`, nil, 413},
		{"a form", "POST", "/orders", "customerId=alice", headers{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"a key of nothing", "POST", "/orders", tea, headers{"Idempotency-Key", " "}, 400},
		{"a key too long", "POST", "/orders", tea, headers{"Idempotency-Key", strings.Repeat("k", 2000)}, 400},
		{"a misspelt parameter", "DELETE", "/orders/o1?customer=alice", "", nil, 400},
		{"a customer twice", "DELETE", "/orders/o1?customerId=a&customerId=b", "", nil, 400},
		{"a parameter where there is none", "POST", "/orders?x=1", tea, nil, 400},
		{"parameters that cannot be read", "POST", "/orders?a;b", tea, nil, 400},
		{"a customer of control characters", "DELETE", "/orders/o1?customerId=%00", "", nil, 422},
		{"an id that can be none", "DELETE", "/orders/a%20b", "", nil, 422},
		{"another method", "PUT", "/orders/o1", tea, nil, 405},
		{"another path", "POST", "/order", tea, nil, 404},
	} {
		if got := s.ask(c.method, c.path, c.body, c.headers...); got.status != c.status || got.detail(t) == "" {
			t.Errorf("%s: %d, %.300s; want %d", c.name, got.status, got.body, c.status)
		}
	}
	if records := broker.ReadAll(t, ordering.Commands.Name(), true); len(records) != 0 {
		t.Errorf("%d commands are in the log", len(records))
	}
}

// With authorization on, everyone orders, sees and cancels for themselves alone.
func TestAuthorization(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	c := config(t, broker.Broker)
	c.Authorizer = byName
	s := startService(t, ordering.CommandService, c)
	alice, bob := []string{"Authorization", "Bearer alice"}, []string{"Authorization", "Bearer bob"}
	patient := func(who []string) []string { return append([]string{"Prefer", "wait=20"}, who...) }
	if got := s.ask(http.MethodPost, "/orders", tea); got.status != http.StatusUnauthorized {
		t.Errorf("nobody: %d, %s", got.status, got.body)
	}
	if got := s.ask(http.MethodPost, "/orders", tea, bob...); got.status != http.StatusForbidden {
		t.Errorf("bob for alice: %d, %s", got.status, got.body)
	}
	placed := s.ask(http.MethodPost, "/orders", tea, patient(alice)...)
	if placed.status != http.StatusCreated {
		t.Fatalf("alice: %d, %s", placed.status, placed.body)
	}
	order, command := placedBody.FindStringSubmatch(placed.body)[1], placed.header.Get("Tidemill-Command-Id")
	if got := s.ask(http.MethodGet, "/commands/"+command, "", bob...); got.status != http.StatusNotFound {
		t.Errorf("bob asks what became of alice's order: %d, %s", got.status, got.body)
	}
	if got := s.ask(http.MethodGet, "/commands/"+command+"/outcomes", ""); got.status != http.StatusUnauthorized {
		t.Errorf("nobody follows it: %d, %s", got.status, got.body)
	}
	spiedOne := s.stream("/commands/"+command+"/outcomes", bob...)
	if got := s.ask(http.MethodGet, "/commands/"+command, "", alice...); got.status != http.StatusOK {
		t.Errorf("alice asks: %d, %s", got.status, got.body)
	}
	if got := s.ask(http.MethodDelete, "/orders/"+order, "", patient(bob)...); got.status != http.StatusNotFound {
		t.Errorf("bob cancels: %d, %s", got.status, got.body)
	}
	if got := s.ask(http.MethodDelete, "/orders/"+order+"?customerId=alice", "", patient(bob)...); got.status != http.StatusForbidden {
		t.Errorf("bob cancels as alice: %d, %s", got.status, got.body)
	}
	if got := s.ask(http.MethodDelete, "/orders/"+order, "", patient(alice)...); got.status != http.StatusOK {
		t.Errorf("alice cancels: %d, %s", got.status, got.body)
	}
	// bob's streams of alice hold nothing: what comes first is his own.
	spied := s.stream("/outcomes?tag=alice", bob...)
	own := s.stream("/outcomes?tag=bob", bob...)
	if got := next(t, own); got.Name != "rejected" {
		t.Errorf("bob's own stream begins with %+v", got)
	}
	select {
	case got := <-spied:
		t.Errorf("bob sees of alice %+v", got)
	case got := <-spiedOne:
		t.Errorf("bob sees of alice's order %+v", got)
	default:
	}
}
