package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

var (
	movesRate  = flag.Int("moves.rate", 60, "queries a second of TestOrderingMoves")
	movesPlace = flag.Int("moves.orders", 20, "orders a second of TestOrderingMoves, each of which is asked for at once")
	movesPhase = flag.Duration("moves.phase", 1500*time.Millisecond, "for how long each phase of TestOrderingMoves goes on after what happens in it")
)

// Query instances of online ordering are added, stopped and killed while orders and queries come in, each with one
// standby: no answer is wrong, older than its token or its max_staleness, and none is missing. What is new waits a moment
// at most when an instance is added or stopped, and for the session time-out when one is killed.
//
//	go test ./test/e2e -run TestOrderingMoves -v -args -moves.rate 300 -moves.orders 60 -moves.phase 5s
func TestOrderingMoves(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		random, seed := random(t)
		command := launchOrdering(t, brokers, "command", "--topics-partitions", "6")
		command.awaitReady()
		var instances []*process
		for n := range 3 {
			instances = append(instances, launchQuery(t, brokers, "query"+strconv.Itoa(n)))
		}
		for _, p := range instances {
			p.awaitReady()
		}
		load := newOrderingLoad(t, command.url, random.Uint64(), instances...)
		defer load.end()
		first, second, third := instances[0], instances[1], instances[2]
		sharedOut(t, first, second, third)
		load.phase("three instances")
		load.rest()

		load.phase("one is added")
		fourth := launchQuery(t, brokers, "query3")
		fourth.awaitReady()
		sharedOut(t, first, second, third, fourth)
		load.reach(first, second, third, fourth)
		load.rest()

		load.phase("one is stopped (SIGTERM)")
		took := second.terminate()
		t.Logf("stopped in %v", took.Round(time.Millisecond))
		load.reach(first, third, fourth)
		sharedOut(t, first, third, fourth)
		load.rest()

		load.phase("it comes back")
		second.start()
		second.awaitReady()
		sharedOut(t, first, second, third, fourth)
		load.reach(first, second, third, fourth)
		load.rest()

		load.phase("one is killed (kill -9)")
		third.kill9()
		load.reach(first, second, fourth)
		sharedOut(t, first, second, fourth)
		load.rest()
		load.stop()
		load.compare()
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
}

// launchOrdering starts a service of online ordering on addresses of its own.
func launchOrdering(t *testing.T, brokers, service string, flags ...string) *process {
	t.Helper()
	app, admin := freeAddr(t), freeAddr(t)
	args := []string{
		"ordering", service, "--brokers", brokers, "--data", dataDir(t), "--admin-addr", admin, "--ordering-" + service + "-addr", app,
		"--log-commands=false",
	}
	p := newProcess(t, service, append(args, flags...)...)
	p.url, p.admin = "http://"+app, "http://"+admin
	p.start()
	t.Cleanup(p.cleanUp)
	return p
}

// launchQuery starts a query instance that shares the customers out with others, with one standby.
func launchQuery(t *testing.T, brokers, name string) *process {
	t.Helper()
	url := "http://" + freeAddr(t)
	p := launchOrdering(t, brokers, "query", "--ordering-query-addr", url[len("http://"):], "--url", url, "--standbys", "1", "--processor-instance-id", name)
	p.name, p.url = name, url
	return p
}

// sharedOut waits until exactly these instances share the partitions, each of which has an owner and a standby.
func sharedOut(t *testing.T, instances ...*process) {
	t.Helper()
	const group = "/.tidemill/sharing/ordering-query-500-5000-views"
	eventually(t, "the partitions are shared out", func() bool {
		for _, p := range instances {
			got, err := ask(t.Context(), http.MethodGet, p.url+group, "")
			var status struct {
				Instances  []struct{ Name string }
				Partitions []struct {
					Owner             string
					Standbys, Warming []string
				}
			}
			if err != nil || json.Unmarshal([]byte(got.body), &status) != nil || len(status.Instances) != len(instances) {
				return false
			}
			owners := map[string]bool{}
			for _, partition := range status.Partitions {
				if owners[partition.Owner] = true; len(partition.Standbys) != 1 || len(partition.Warming) > 0 {
					return false
				}
			}
			if len(owners) != len(instances) {
				return false
			}
		}
		return true
	})
}

// bucketsOf are the paths of buckets, with a price in each.
var bucketsOf = []struct{ name, price string }{{"CHEAP", "4.99"}, {"AFFORDABLE", "5.00"}, {"EXPENSIVE", "50.01"}}

// placedOrder is an order that was sent.
type placedOrder struct {
	id       string
	bucket   int
	token    string    // "" until the decision is known
	happened time.Time // when it was known; zero before
}

// orderingLoad places orders and asks for customers' orders, and knows what each answer must have.
type orderingLoad struct {
	t       *testing.T
	command string
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu        sync.Mutex
	instances []*process                // guarded by mu
	orders    map[string][]*placedOrder // guarded by mu: by customer
	tallies   []*orderingTally          // guarded by mu
	wrong     int                       // guarded by mu
}

// orderingTally is what came of a phase.
type orderingTally struct {
	name                 string
	queries, orders      int
	repeated, refused    int // because an instance cannot be reached, and because it goes
	slowest, gap, stated time.Duration
}

const loadCustomers = 48

func newOrderingLoad(t *testing.T, command string, seed uint64, instances ...*process) *orderingLoad {
	ctx, cancel := context.WithCancel(context.Background())
	l := &orderingLoad{t: t, command: command, cancel: cancel, instances: instances, orders: map[string][]*placedOrder{}}
	l.tallies = []*orderingTally{{name: "start"}}
	t.Cleanup(l.stop)
	l.every(ctx, *movesPlace, rand.New(rand.NewPCG(seed, 1)), l.place)
	l.every(ctx, *movesRate, rand.New(rand.NewPCG(seed, 2)), l.query)
	return l
}

// every makes something up so many times a second and does it, each in a goroutine of its own: not more than 64 at once.
func (l *orderingLoad) every(ctx context.Context, rate int, random *rand.Rand, makeUp func(*rand.Rand) func(context.Context)) {
	l.workers.Go(func() {
		room := make(chan struct{}, 64)
		began := time.Now()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate)))):
			}
			select {
			case <-ctx.Done():
				return
			case room <- struct{}{}:
			}
			do := makeUp(random)
			l.workers.Go(func() {
				defer func() { <-room }()
				do(context.WithoutCancel(ctx))
			})
		}
	})
}

func (l *orderingLoad) stop() {
	l.cancel()
	l.workers.Wait()
}

// phase begins a phase.
func (l *orderingLoad) phase(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tallies = append(l.tallies, &orderingTally{name: name})
}

func (*orderingLoad) rest() { time.Sleep(*movesPhase) }

// reach says which instances are asked.
func (l *orderingLoad) reach(instances ...*process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instances = instances
}

// refusals: one query in so many may be refused at an instance, to be answered by the next.
const refusals = 50

// end prints what came of the phases.
func (l *orderingLoad) end() {
	l.stop()
	for _, p := range l.tallies[1:] {
		l.t.Logf("%-26s %6d queries, %5d orders, %d repeated elsewhere, %d of them refused; slowest %v, longest wait for an order %v, greatest staleness told %v",
			p.name, p.queries, p.orders, p.repeated, p.refused, p.slowest.Round(time.Millisecond), p.gap.Round(time.Millisecond), p.stated.Round(time.Millisecond))
		if p.queries == 0 || p.orders == 0 {
			l.t.Errorf("%s: nothing was asked or ordered", p.name)
		}
		// An instance that goes refuses who waits there for something new that the others have not come to in its time (docs/operating.md): none
		// does as a rule, and all of them have been answered elsewhere.
		if p.refused*refusals > p.queries {
			l.t.Errorf("%s: %d of %d queries were refused", p.name, p.refused, p.queries)
		}
	}
}

// fail reports a wrong answer; not all of a flood.
func (l *orderingLoad) fail(format string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong++; l.wrong <= 20 {
		l.t.Errorf("%s: %s", l.tallies[len(l.tallies)-1].name, fmt.Sprintf(format, values...))
	}
}

// place makes up an order. Once it is decided it is asked for with its token: how long that takes is how long it waits.
func (l *orderingLoad) place(random *rand.Rand) func(context.Context) {
	customer := "customer-" + strconv.Itoa(random.IntN(loadCustomers))
	order := &placedOrder{bucket: random.IntN(len(bucketsOf))}
	l.mu.Lock()
	order.id = fmt.Sprintf("%s.%d", customer, len(l.orders[customer]))
	l.orders[customer] = append(l.orders[customer], order)
	tally := l.tallies[len(l.tallies)-1]
	tally.orders++
	l.mu.Unlock()
	return func(ctx context.Context) {
		body := fmt.Sprintf(`{"orderId":%q,"customerId":%q,"itemLabel":"Tea","itemPrice":%s}`, order.id, customer, bucketsOf[order.bucket].price)
		var got answer
		var err error
		for range 3 { // a connection may be closed in the moment that it is used again
			if got, err = ask(ctx, http.MethodPost, l.command+"/orders", body, "Prefer", "wait=30", "Idempotency-Key", order.id); err == nil {
				break
			}
		}
		if err != nil || got.status != http.StatusCreated {
			l.fail("placing %s: %d, %s, %v", order.id, got.status, got.body, err)
			return
		}
		l.mu.Lock()
		order.token, order.happened = got.header.Get("Tidemill-Token"), time.Now()
		l.mu.Unlock()
		l.ask(ctx, tally, orderingQuery{customer: customer, bucket: order.bucket, must: []string{order.id}, headers: []string{"Tidemill-Token", order.token}}, &tally.gap)
	}
}

// orderingQuery is a query for a bucket and what must be in it.
type orderingQuery struct {
	customer string
	bucket   int
	must     []string
	bound    string // in words
	headers  []string
}

// query makes up a query: with the token of some order, with a bound, or without either.
func (l *orderingLoad) query(random *rand.Rand) func(context.Context) {
	q := orderingQuery{customer: "customer-" + strconv.Itoa(random.IntN(loadCustomers)), bucket: random.IntN(len(bucketsOf))}
	kind, bound := random.IntN(10), []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second}[random.IntN(4)]
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := l.tallies[len(l.tallies)-1]
	now := time.Now()
	var known []*placedOrder
	for _, order := range l.orders[q.customer] {
		if order.bucket == q.bucket && !order.happened.IsZero() {
			known = append(known, order)
		}
	}
	switch {
	case kind < 4 && len(known) > 0:
		order := known[len(known)-1-random.IntN(min(len(known), 3))]
		q.bound, q.must, q.headers = "its token", []string{order.id}, []string{"Tidemill-Token", order.token}
	case kind < 8:
		q.bound, q.headers = "max_staleness="+bound.String(), []string{"Tidemill-Max-Staleness", bound.String()}
		for _, order := range known {
			if order.happened.Before(now.Add(-bound)) {
				q.must = append(q.must, order.id)
			}
		}
	}
	return func(ctx context.Context) { l.ask(ctx, tally, q, nil) }
}

// ask asks one instance after the other until one can be reached, as whatever balances load does, and judges the answer. The
// time that took raises took, if it is not nil.
func (l *orderingLoad) ask(ctx context.Context, tally *orderingTally, q orderingQuery, took *time.Duration) {
	began := time.Now()
	l.mu.Lock()
	instances := l.instances
	tally.queries++
	l.mu.Unlock()
	path := "/customers/" + q.customer + "/orders/" + bucketsOf[q.bucket].name + "?limit=1000"
	headers := append(slices.Clip(q.headers), "Prefer", "wait=30")
	var got answer
	var err error
	at := rand.IntN(len(instances))
	for attempt := range 2 * len(instances) {
		got, err = ask(ctx, http.MethodGet, instances[(at+attempt)%len(instances)].url+path, "", headers...)
		refused := err == nil && got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != ""
		if err == nil && !refused {
			break
		}
		l.mu.Lock()
		if tally.repeated++; refused {
			if tally.refused++; tally.refused <= 3 {
				l.t.Logf("%s: %s %v is refused after %v: %s", tally.name, path, q.headers, time.Since(began).Round(time.Millisecond), got.body)
			}
		}
		l.mu.Unlock()
	}
	waited := time.Since(began)
	l.mu.Lock()
	tally.slowest = max(tally.slowest, waited)
	if took != nil {
		*took = max(*took, waited)
	}
	l.mu.Unlock()
	if err != nil || got.status != http.StatusOK {
		l.fail("%s %v is answered with %d after %v: %s, %v", path, q.headers, got.status, waited, got.body, err)
		return
	}
	l.judge(tally, q, got)
}

// bucketPage is the answer about a bucket.
type bucketPage struct {
	Count  int
	Orders []struct{ OrderID string }
}

func (l *orderingLoad) judge(tally *orderingTally, q orderingQuery, got answer) {
	var page bucketPage
	if err := json.Unmarshal([]byte(got.body), &page); err != nil {
		l.fail("%s: %v", got.body, err)
		return
	}
	listed := map[string]bool{}
	for _, order := range page.Orders {
		if listed[order.OrderID] {
			l.fail("%s is listed twice", order.OrderID)
		}
		listed[order.OrderID] = true
	}
	for _, id := range q.must {
		if !listed[id] {
			l.fail("%s of %s lacks %s, which by %s it must have (by %s, staleness told to be %q)", bucketsOf[q.bucket].name, q.customer, id, q.bound,
				got.header.Get("Tidemill-Instance"), got.header.Get("Tidemill-Staleness"))
		}
	}
	stated, _ := strconv.ParseFloat(got.header.Get("Tidemill-Staleness"), 64)
	l.mu.Lock()
	for _, order := range l.orders[q.customer] {
		if order.bucket == q.bucket {
			delete(listed, order.id)
		}
	}
	tally.stated = max(tally.stated, time.Duration(stated*float64(time.Second)))
	l.mu.Unlock()
	for id := range listed {
		l.fail("%s of %s has %s, which was never ordered", bucketsOf[q.bucket].name, q.customer, id)
	}
}

// compare holds the end of every customer's every bucket, by every instance, against what was ordered.
func (l *orderingLoad) compare() {
	for customer, orders := range l.orders {
		for n, bucket := range bucketsOf {
			var want []string
			for _, order := range orders {
				if order.bucket == n && order.token != "" {
					want = append(want, order.id)
				}
			}
			slices.Sort(want)
			for _, p := range l.instances {
				got := must(l.t, http.MethodGet, p.url+"/customers/"+customer+"/orders/"+bucket.name+"?limit=1000", "", "Tidemill-Max-Staleness", "0", "Prefer", "wait=30")
				var page bucketPage
				if err := json.Unmarshal([]byte(got.body), &page); err != nil {
					l.t.Fatalf("%d, %s: %v", got.status, got.body, err)
				}
				var have []string
				for _, order := range page.Orders {
					have = append(have, order.OrderID)
				}
				if slices.Sort(have); !slices.Equal(have, want) || page.Count != len(want) {
					l.t.Errorf("%s of %s by %s: %d, %v; want %v", bucket.name, customer, p.name, page.Count, have, want)
				}
			}
		}
	}
}
