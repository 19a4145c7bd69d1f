package ordering_test

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/streamtest"
)

// onlookers is how many streams TestChangesLoad opens.
var onlookers = flag.Int("ordering.streams", 1000, "streams of changes that TestChangesLoad opens; 10000 for the promise itself")

// What an instance of the query service may take up: so many bytes for itself, and so many a stream, which is 300 MB for 10,000.
const (
	loadBase   = 60_000_000
	loadStream = 24_000
)

// loadOrders is how many orders TestChangesLoad places for each of its two kinds of customers.
const loadOrders = 20

// TestChangesLoad opens many streams of changes to one query service, a process of its own: half of them one customer's, half of a
// customer each. It holds what the process takes up in memory against what is promised, and tells how long an order takes from
// its request to all streams of its customer. With the race detector only the changes are looked at.
func TestChangesLoad(t *testing.T) {
	for name, shared := range map[string]bool{"whole": false, "shared": true} {
		t.Run(name, func(t *testing.T) { changesLoad(t, shared) })
	}
}

func changesLoad(t *testing.T, shared bool) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	commands := startService(t, ordering.CommandService, config(t, broker.Broker))
	streamtest.Allow(t, *onlookers) // the service is a child, and gets the limit that there is when it starts
	queries := newInstance(t, broker.Broker, func(c *instanceConfig) { c.Whole = !shared })
	queries.awaitReady()
	place := func(customer string) {
		t.Helper()
		body := fmt.Sprintf(`{"customerId":%q,"itemLabel":"Tea","itemPrice":1}`, customer)
		if got := commands.ask(http.MethodPost, "/orders", body, "Prefer", "respond-async"); got.status != http.StatusAccepted {
			t.Fatalf("%s: %d, %s", body, got.status, got.body)
		}
	}
	pid := queries.cmd.Process.Pid
	alone, _ := streamtest.Resident(t, pid)
	began := time.Now()
	all := streamtest.Open(t, strings.TrimPrefix(queries.url, "http://"), *onlookers, 4*patience, func(i int) string {
		return "/customers/" + []string{"busy", fmt.Sprint("quiet-", i)}[i%2] + "/changes"
	})
	opened := time.Since(began)
	open, _ := streamtest.Resident(t, pid)
	var many, one []time.Duration
	for i := range loadOrders {
		placed := time.Now()
		place("busy")
		line := fmt.Sprintf(`data: {"bucket":"CHEAP","count":%d,"total":%d.00}`, i+1, i+1)
		streamtest.Each(t, len(all)/2, func(i int) error { return all[2*i].Await(line) })
		many = append(many, time.Since(placed))
		placed = time.Now()
		quiet := 2*i + 1
		place(fmt.Sprint("quiet-", quiet))
		if err := all[quiet].Await(`data: {"bucket":"CHEAP","count":1,"total":1.00}`); err != nil {
			t.Fatal(err)
		}
		one = append(one, time.Since(placed))
	}
	slices.Sort(many)
	slices.Sort(one)
	now, peak := streamtest.Resident(t, pid)
	bound := loadBase + *onlookers*loadStream
	t.Logf("%d streams: %.1f MB alone, %.1f MB when they were open (%v), %.1f MB after %d orders, at most %.1f MB; the bound is %.1f MB, %.1f kB a stream",
		*onlookers, streamtest.Megabytes(alone), streamtest.Megabytes(open), opened.Round(time.Millisecond), streamtest.Megabytes(now), 2*loadOrders,
		streamtest.Megabytes(peak), streamtest.Megabytes(bound), float64(peak-alone)/1e3/float64(*onlookers))
	t.Logf("an order reached its customer's %d streams in %v (median), %v (longest), and a customer's only one in %v and %v",
		*onlookers/2, many[len(many)/2].Round(time.Microsecond), many[len(many)-1].Round(time.Microsecond),
		one[len(one)/2].Round(time.Microsecond), one[len(one)-1].Round(time.Microsecond))
	if peak > bound && !costtest.Races { // the race detector takes up several times the memory
		t.Errorf("%d streams take %.1f MB, the bound is %.1f MB", *onlookers, streamtest.Megabytes(peak), streamtest.Megabytes(bound))
	}
}
