package ordering_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
)

// A query that carries the token of an order's or a cancellation's answer shows its effect, in every resource, also where the
// command was rejected and there is nothing to show.
func TestReadYourWrites(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		c := config(t, broker.Broker)
		commands, queries := startService(t, ordering.CommandService, c), startService(t, ordering.QueryService, c)
		token := func(method, path, body string) string {
			t.Helper()
			got := commands.ask(method, path, body, "Prefer", "respond-async")
			if got.status != http.StatusAccepted || got.header.Get("Tidemill-Token") == "" {
				t.Fatalf("%s %s: %d, %s", method, path, got.status, got.body)
			}
			return got.header.Get("Tidemill-Token")
		}
		shows := func(token, path, want string) {
			t.Helper()
			got := queries.ask(http.MethodGet, path, "", "Tidemill-Token", token, "Prefer", "wait=30")
			if !strings.Contains(got.body, want) {
				t.Fatalf("%s with a token: %d, %s; want %s in it", path, got.status, got.body, want)
			}
		}
		for i := range 20 {
			order := fmt.Sprintf(`{"orderId":"o%d","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, i)
			placed := token(http.MethodPost, "/orders", order)
			switch i % 3 {
			case 0:
				shows(placed, "/customers/alice/orders?limit=1", fmt.Sprintf(`"orderId":"o%d"`, i))
			case 1:
				shows(placed, "/customers/alice/orders/cheap?sort=price&limit=1000", fmt.Sprintf(`"orderId":"o%d"`, i))
			default:
				shows(placed, "/orders?customerId=alice&price=cheap&token="+placed, fmt.Sprintf(`"quantity":%d}`, i+1-i/5))
			}
			// Taken already: rejected, and nobody waits for a row that never comes.
			again := token(http.MethodPost, "/orders", order)
			shows(again, "/customers/alice/orders", fmt.Sprintf(`"count":%d`, i+1-i/5))
			if i%5 == 4 {
				shows(token(http.MethodDelete, fmt.Sprintf("/orders/o%d", i), ""), "/customers/alice/orders", fmt.Sprintf(`"count":%d`, i-i/5))
			}
		}
		last := token(http.MethodPost, "/orders", `{"customerId":"bob","itemLabel":"Tea","itemPrice":1}`)
		stream := queries.stream("/customers/bob/changes", "Tidemill-Token", last, "Prefer", "wait=30")
		for {
			if got := next(t, stream); got.Name == "totals" && strings.Contains(got.Data, "CHEAP") {
				if got.Data != `{"bucket":"CHEAP","count":1,"total":1.00}` {
					t.Errorf("the stream begins before the token's command: %+v", got)
				}
				break
			}
		}
		for name, c := range map[string]struct {
			token  string
			status int
		}{
			"another topic":            {views.Token{Topic: "calculator-commands"}.String(), 400},
			"a partition that is none": {views.Token{Topic: ordering.Commands.Name(), Partition: 7}.String(), 400},
			"no token":                 {"tea", 400},
			"of what is not there yet": {views.Token{Topic: ordering.Commands.Name(), Offset: 1_000_000}.String(), 504},
		} {
			got := queries.ask(http.MethodGet, "/customers/bob/orders", "", "Tidemill-Token", c.token, "Prefer", "wait=1")
			if got.status != c.status || got.detail(t) == "" {
				t.Errorf("%s (%s): %d, %s; want %d", name, c.token, got.status, got.body, c.status)
			}
		}
	})
}

// A query with a bound is not answered from an older state, in every resource, also where the service has a full copy: an order
// that has been accepted by then is there.
func TestMaxStaleness(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		c := config(t, broker.Broker)
		commands, queries := startService(t, ordering.CommandService, c), startService(t, ordering.QueryService, c)
		for i := range 20 {
			order := fmt.Sprintf(`{"orderId":"o%d","customerId":"alice","itemLabel":"Tea","itemPrice":1}`, i)
			if got := commands.ask(http.MethodPost, "/orders", order, "Prefer", "wait=30"); got.status != http.StatusCreated {
				t.Fatalf("placing an order: %d, %s", got.status, got.body)
			}
			path, want := "/customers/alice/orders?limit=1", fmt.Sprintf(`"orderId":"o%d"`, i)
			headers := []string{"Prefer", "wait=30", "Tidemill-Max-Staleness", "0"}
			switch i % 3 {
			case 1:
				path, headers = "/customers/alice/orders/cheap?sort=price&limit=1000&max_staleness=0s", headers[:2]
			case 2:
				path, want, headers = "/orders?customerId=alice&price=cheap&max_staleness=0", fmt.Sprintf(`"quantity":%d}`, i+1), headers[:2]
			}
			got := queries.ask(http.MethodGet, path, "", headers...)
			if stated := got.header.Get("Tidemill-Staleness"); got.status != http.StatusOK || !strings.Contains(got.body, want) || stated != "0.000000" {
				t.Fatalf("%s %v: %d, staleness %q, %s; want %s in it", path, headers, got.status, stated, got.body, want)
			}
		}
		for _, path := range []string{"/orders?customerId=alice&price=cheap", "/customers/alice/orders?x=y", "/customers/alice/changes?x=y"} {
			if got := queries.ask(http.MethodGet, path+"&max_staleness=soon", ""); got.status != http.StatusBadRequest {
				t.Errorf("%s: %d, %s", path, got.status, got.body)
			}
		}
	})
}
