package ordering_test

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/ordering/orderingtest"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

var buckets = []string{"CHEAP", "AFFORDABLE", "EXPENSIVE"}

func TestBoundariesToThePenny(t *testing.T) {
	other, err := ordering.ParseThresholds("10", "10.00")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		thresholds ordering.Thresholds
		price      string
		want       ordering.Bucket
	}{
		{ordering.DefaultThresholds(), "0.00", ordering.Cheap},
		{ordering.DefaultThresholds(), "4.99", ordering.Cheap},
		{ordering.DefaultThresholds(), "5.00", ordering.Affordable},
		{ordering.DefaultThresholds(), "5.01", ordering.Affordable},
		{ordering.DefaultThresholds(), "49.99", ordering.Affordable},
		{ordering.DefaultThresholds(), "50.00", ordering.Affordable},
		{ordering.DefaultThresholds(), "50.01", ordering.Expensive},
		{ordering.DefaultThresholds(), "1000000", ordering.Expensive},
		{other, "9.99", ordering.Cheap},
		{other, "10.00", ordering.Affordable},
		{other, "10.01", ordering.Expensive},
	} {
		price, err := ordering.ParsePrice(c.price)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.thresholds.Bucket(price); got != c.want {
			t.Errorf("£%s with %v is %s, want %s", c.price, c.thresholds, got, c.want)
		}
	}
	if got := ordering.DefaultThresholds().Application(); got != "ordering-query-500-5000" {
		t.Errorf("the application is %s", got)
	}
	for _, wrong := range [][2]string{{"0", "50"}, {"5", "4.99"}, {"5", "1000000"}, {"x", "50"}, {"5", "50.001"}, {"-1", "5"}} {
		if got, err := ordering.ParseThresholds(wrong[0], wrong[1]); !errors.Is(err, service.ErrConfig) {
			t.Errorf("%v are taken as %v, %v", wrong, got, err)
		}
	}
}

// listing and page are what the query service answers.
type listing struct {
	OrderID   string         `json:"orderId"`
	ItemLabel string         `json:"itemLabel"`
	ItemPrice ordering.Money `json:"itemPrice"`
	PlacedAt  int64          `json:"placedAt"`
}

type page struct {
	CustomerID string         `json:"customerId,omitempty"`
	Bucket     string         `json:"bucket"`
	Count      int            `json:"count"`
	Total      ordering.Money `json:"total"`
	Orders     []listing      `json:"orders"`
	Next       string         `json:"next,omitempty"`
}

// read returns what the service answers, or why it does not.
func read[T any](s *running, path string) (value T, err error) {
	s.t.Helper()
	got := s.ask(http.MethodGet, path, "")
	if got.status != http.StatusOK {
		return value, fmt.Errorf("%s: %d, %s", path, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &value, json.RejectUnknownMembers(true)); err != nil {
		return value, fmt.Errorf("%s: %s: %w", path, got.body, err)
	}
	return value, nil
}

// bucketPages reads all pages of a bucket and returns their orders.
func bucketPages(s *running, customer, bucket, parameters string) (orders []listing, err error) {
	s.t.Helper()
	for cursor := ""; ; {
		path := "/customers/" + customer + "/orders/" + bucket + "?" + parameters
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		got, err := read[page](s, path)
		if err != nil {
			return nil, err
		}
		orders = append(orders, got.Orders...)
		if cursor = got.Next; cursor == "" {
			return orders, nil
		}
	}
}

// compare returns what the service shows of a customer otherwise than the model has it.
func compare(s *running, model *orderingtest.Model, customer string) error {
	s.t.Helper()
	for _, bucket := range buckets {
		want := model.Listed(customer, bucket, false)
		var total ordering.Money
		for _, order := range want {
			total += order.ItemPrice
		}
		first, err := read[page](s, "/customers/"+customer+"/orders/"+bucket+"?limit=1")
		if err != nil {
			return err
		}
		if first.Count != len(want) || first.Total != total || first.CustomerID != customer {
			return fmt.Errorf("%s's %s are %d for %s, want %d for %s", customer, bucket, first.Count, first.Total, len(want), total)
		}
		for _, sort := range []string{"time", "price"} {
			if err := comparePages(s, customer, bucket, sort, model.Listed(customer, bucket, sort == "price")); err != nil {
				return err
			}
		}
		if err := compareItems(s, customer, bucket, model.Items(customer, bucket)); err != nil {
			return err
		}
	}
	return nil
}

func comparePages(s *running, customer, bucket, sort string, want []ordering.Details) error {
	for _, order := range []string{"asc&limit=" + strconv.Itoa(max(7, len(want)/3)), "desc&limit=1000"} {
		got, err := bucketPages(s, customer, bucket, "sort="+sort+"&order="+order)
		if err != nil {
			return err
		}
		if order == "desc&limit=1000" {
			slices.Reverse(got)
		}
		if err := same(got, want); err != nil {
			return fmt.Errorf("%s's %s by %s, %s: %w", customer, bucket, sort, order, err)
		}
	}
	return nil
}

func compareItems(s *running, customer, bucket string, want []orderingtest.Item) error {
	path := "/orders?customerId=" + customer + "&price=" + bucket
	if len(want) == 0 {
		if got := s.ask(http.MethodGet, path, ""); got.status != http.StatusNotFound {
			return fmt.Errorf("%s has no %s, and the answer is %d, %s", customer, bucket, got.status, got.body)
		}
		return nil
	}
	got, err := read[[]orderingtest.Item](s, path)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("%s's %s items are %v, want %v", customer, bucket, got, want)
	}
	return err
}

func same(got []listing, want []ordering.Details) error {
	if len(got) != len(want) {
		return fmt.Errorf("there are %d orders, want %d", len(got), len(want))
	}
	for i, order := range want {
		if got[i] != (listing{order.OrderID, order.ItemLabel, order.ItemPrice, order.PlacedAt}) {
			return fmt.Errorf("order %d is %+v, want %+v", i, got[i], order)
		}
	}
	return nil
}

// load writes commands straight to the topic, as any program could, and applies them to the model.
func load(t *testing.T, broker kafkatest.Broker, model *orderingtest.Model, random *orderingtest.Random, n int) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		command := random.Next()
		text := body(t, command)
		model.Apply(command, text)
		records[i] = &kgo.Record{
			Topic: ordering.Commands.Name(), Key: []byte(command.Data.OrderID), Value: []byte(text), Timestamp: time.UnixMilli(command.Timestamp),
		}
	}
	broker.Produce(t, records...)
}

// The companion's queries, pages and totals, over both services, against the model; the thresholds changed on the way.
func TestQueryService(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		c := config(t, broker.Broker)
		commands := startService(t, ordering.CommandService, c)
		queries := startService(t, ordering.QueryService, c)
		var model orderingtest.Model
		random := orderingtest.NewRandom(*seed, 5, start)
		load(t, broker.Broker, &model, random, 1000)
		agree := func(s *running) {
			t.Helper()
			for customer := range 5 {
				eventually(t, "the service agrees with the model (-seed "+strconv.FormatUint(*seed, 10)+")", func() error {
					return compare(s, &model, orderingtest.Customer(customer))
				})
			}
		}
		agree(queries)
		// Either works while the other is down.
		commands.stop()
		agree(queries)
		queries.stop()
		commands = startService(t, ordering.CommandService, c)
		load(t, broker.Broker, &model, random, 200)
		if got := commands.ask(http.MethodPost, "/orders", tea, "Prefer", "wait=20"); got.status != http.StatusCreated {
			t.Fatalf("an order while the query service is down: %d, %s", got.status, got.body)
		}
		queries = startService(t, ordering.QueryService, c)
		agree(queries)
	})
}

// A service that is ready shows all that had happened before its start, also where its tables were built from the log first.
func TestReadyAfterARebuild(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, broker *kafkatest.Process) {
		c := config(t, broker.Broker)
		startService(t, ordering.CommandService, c)
		first := startService(t, ordering.QueryService, c)
		var model orderingtest.Model
		load(t, broker.Broker, &model, orderingtest.NewRandom(*seed, 5, start), 4000)
		for customer := range 5 {
			eventually(t, "all is decided", func() error { return compare(first, &model, orderingtest.Customer(customer)) })
		}
		for _, beginning := range []string{"10.00", "20.00", "30.00"} {
			var err error
			if c.Thresholds, err = ordering.ParseThresholds(beginning, "100.00"); err != nil {
				t.Fatal(err)
			}
			other := startService(t, ordering.QueryService, c)
			for customer := range 5 {
				want, got := 0, 0
				for _, bucket := range buckets {
					want += len(model.Listed(orderingtest.Customer(customer), bucket, false))
					shown, err := read[page](other, "/customers/"+orderingtest.Customer(customer)+"/orders/"+bucket+"?limit=1")
					if err != nil {
						t.Fatal(err)
					}
					got += shown.Count
				}
				if got != want {
					t.Errorf("thresholds from %s: customer %d has %d orders once the service is ready, want %d", beginning, customer, got, want)
				}
			}
			other.stop()
		}
	})
}

// Other thresholds are another application: its tables are built from the log, and the first one's stay as they are.
func TestOtherThresholds(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	c := config(t, broker.Broker)
	commands := startService(t, ordering.CommandService, c)
	for label, price := range map[string]string{"tea": "4.99", "cup": "5.00", "pot": "50.00", "chair": "50.01"} {
		text := `{"customerId":"alice","itemLabel":"` + label + `","itemPrice":` + price + `}`
		if got := commands.ask(http.MethodPost, "/orders", text, "Prefer", "wait=20"); got.status != http.StatusCreated {
			t.Fatalf("%s: %d, %s", text, got.status, got.body)
		}
	}
	shows := func(s *running, want ...string) {
		t.Helper()
		for i, bucket := range buckets {
			eventually(t, bucket, func() error {
				labels := ""
				orders, err := bucketPages(s, "alice", bucket, "sort=price&order=asc")
				if err != nil {
					return err
				}
				for _, order := range orders {
					labels += order.ItemLabel + " "
				}
				if labels != want[i] {
					return fmt.Errorf("holds %q, want %q", labels, want[i])
				}
				return nil
			})
		}
	}
	first := startService(t, ordering.QueryService, c)
	shows(first, "tea ", "cup pot ", "chair ")
	first.stop()
	c.Thresholds = ordering.Thresholds{From: 5_01, To: 50_01}
	second := startService(t, ordering.QueryService, c)
	shows(second, "tea cup ", "pot chair ", "")
	second.stop()
	changelog := ordering.DefaultThresholds().Application() + "-by-time-changelog"
	before := len(broker.ReadAll(t, changelog, true))
	c.Thresholds = ordering.DefaultThresholds()
	again := startService(t, ordering.QueryService, c)
	shows(again, "tea ", "cup pot ", "chair ")
	if after := len(broker.ReadAll(t, changelog, true)); after != before || before != 4 {
		t.Errorf("the changelog of the first thresholds had 4 records, then %d and %d", before, after)
	}
}

func TestQueriesThatMakeNoSense(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	c := config(t, broker.Broker)
	queries := startService(t, ordering.QueryService, c)
	for path, status := range map[string]int{
		"/orders": 400, "/orders?customerId=a": 400, "/orders?customerId=a&price=FREE": 400, "/orders?customerId=a&price=CHEAP&x=1": 400,
		"/orders?customerId=a&price=CHEAP&price=CHEAP": 400, "/orders?customerId=%00&price=CHEAP": 400, "/orders?customerId=a&price=cheap": 404,
		"/orders?customerId=a&customerId=b&price=CHEAP": 400, "/customers/a/orders?limit=0": 400, "/customers/a/orders?limit=1001": 400,
		"/customers/a/orders?sort=label": 400, "/customers/a/orders?order=up": 400, "/customers/a/orders?cursor=x": 400, "/customers/a/orders": 200,
		"/customers/a/orders/cheap": 200, "/customers/a/orders/FREE": 404, "/customers/a/orders/CHEAP?cursor=x": 400, "/customers/%20/orders": 400,
		"/customers/a/orders?token=x": 400, "/customers": 404, "/customers/a/changes?snapshot=all": 400, "/customers/a/changes?limit=1": 400,
		"/customers/a/changes?last-event-id=x": 400, "/customers/a/changes?last-event-id=.": 400, "/customers/a/changes?last-event-id=x.y": 400,
		"/customers/%00/changes": 400,
	} {
		got := queries.ask(http.MethodGet, path, "")
		if got.status != status {
			t.Errorf("%s: %d, %s; want %d", path, got.status, got.body, status)
		}
		if status != http.StatusOK && got.detail(t) == "" {
			t.Errorf("%s is not told what is wrong", path)
		}
	}
}

// With authorization on, everyone looks at their own orders alone.
func TestQueryAuthorization(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	c := config(t, broker.Broker)
	c.Authorizer = byName
	queries := startService(t, ordering.QueryService, c)
	for _, path := range []string{"/orders?customerId=alice&price=CHEAP", "/customers/alice/orders", "/customers/alice/orders/CHEAP", "/customers/alice/changes"} {
		if got := queries.ask(http.MethodGet, path, ""); got.status != http.StatusUnauthorized {
			t.Errorf("%s by nobody: %d, %s", path, got.status, got.body)
		}
		if got := queries.ask(http.MethodGet, path, "", "Authorization", "Bearer bob"); got.status != http.StatusForbidden {
			t.Errorf("%s by bob: %d, %s", path, got.status, got.body)
		}
		if got := queries.ask(http.MethodHead, path, "", "Authorization", "Bearer alice"); got.status != http.StatusOK && got.status != http.StatusNotFound {
			t.Errorf("%s by alice: %d, %s", path, got.status, got.body)
		}
	}
}
