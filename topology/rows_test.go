package topology_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// purchase is what the tests of rows are about: an order of a customer, by its id.
type purchase struct {
	Customer string
	Label    string
	Pence    int64
}

type (
	bucketAndID = codecs.Tuple2[string, string]
	byBucket    = codecs.Row[string, bucketAndID]
	byPrice     = codecs.Row[string, codecs.Tuple2[int64, string]]
	bucketOf    = codecs.Row[string, string]
)

var (
	purchases    = topology.NewTopic("purchases", codecs.String(), codecs.JSON[purchase](), topology.Partitions(3))
	bucketRows   = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.OrderedString(), codecs.OrderedString()))
	priceRows    = codecs.Rows(codecs.OrderedString(), codecs.OrderedTuple2(codecs.Descending(codecs.OrderedInt64()), codecs.OrderedString()))
	bucketKeys   = codecs.Rows(codecs.OrderedString(), codecs.OrderedString())
	rowsOut      = topology.NewTopic[byBucket, purchase]("rows", bucketRows, codecs.JSON[purchase](), topology.Partitions(3))
	bucketCounts = topology.NewTopic[bucketOf, int64]("counts", bucketKeys, codecs.Int64(), topology.Partitions(3))
	revenueOut   = topology.NewTopic("revenue", codecs.String(), codecs.Int64(), topology.Partitions(3))
)

func bucket(p purchase) string {
	switch {
	case p.Pence < 500:
		return "cheap"
	case p.Pence <= 5000:
		return "affordable"
	}
	return "expensive"
}

// rowTables are the tables over purchases.
type rowTables struct {
	byBucket topology.Table[byBucket, purchase]
	byPrice  topology.Table[byPrice, purchase]
	counts   topology.Table[bucketOf, int64]
	revenue  topology.Table[string, int64]
}

func rowTopology(b *topology.Builder) (t rowTables) {
	orders := b.Table(purchases, "orders")
	t.byBucket = orders.ToRows("by-bucket", func(id string, p purchase) (byBucket, purchase) {
		return byBucket{Partition: p.Customer, Sort: bucketAndID{First: bucket(p), Second: id}}, p
	}, bucketRows, codecs.JSON[purchase]())
	t.byPrice = t.byBucket.ToRowsWithin("by-price", func(r byBucket, p purchase) (byPrice, purchase) {
		return byPrice{Partition: r.Partition, Sort: codecs.Tuple2[int64, string]{First: p.Pence, Second: r.Sort.Second}}, p
	}, priceRows, codecs.JSON[purchase]())
	t.counts = t.byBucket.GroupWithin(func(r byBucket, p purchase) (bucketOf, int64) {
		return bucketOf{Partition: r.Partition, Sort: r.Sort.First}, p.Pence
	}, bucketKeys, codecs.Int64()).Count("counts")
	t.revenue = t.byBucket.GroupWithin(func(r byBucket, p purchase) (string, int64) {
		return r.Partition, p.Pence
	}, codecs.String(), codecs.Int64()).Reduce("revenue",
		func(sum, pence int64) int64 { return sum + pence },
		func(sum, pence int64) int64 { return sum - pence })
	t.byBucket.ToStream().To(rowsOut)
	t.counts.ToStream().To(bucketCounts)
	t.revenue.ToStream().To(revenueOut)
	return t
}

func TestRowsFollowTheirTable(t *testing.T) {
	b := topology.New("shop")
	tables := rowTopology(b)
	shop := build(t, b)
	golden(t, "describe/rows.txt", shop.Describe())
	driver := topologytest.New(t, shop)
	in := topologytest.Input(driver, purchases)
	in.Pipe("1", purchase{"alice", "tea", 499})
	in.Pipe("2", purchase{"alice", "pot", 500})
	in.Pipe("3", purchase{"bob", "tea", 499})
	in.Pipe("1", purchase{"alice", "tea", 5001}) // to another bucket
	in.Pipe("2", purchase{"alice", "pan", 500})  // in its place
	in.Pipe("3", purchase{"", "tea", 499})       // to a customer without a name, who may be on another partition
	in.PipeTombstone("2")
	in.PipeTombstone("2")
	golden(t, "rows.txt", rowTranscript(driver, tables))
}

// rowTranscript tells what came out, with partitions, and which rows there are.
func rowTranscript(driver *topologytest.Driver, tables rowTables) string {
	var out strings.Builder
	transcribe(&out, driver, rowsOut)
	transcribe(&out, driver, bucketCounts)
	transcribe(&out, driver, revenueOut)
	transcribeRows(&out, driver, tables.byBucket)
	transcribeRows(&out, driver, tables.byPrice)
	transcribeRows(&out, driver, tables.counts)
	transcribeRows(&out, driver, tables.revenue)
	return out.String()
}

func transcribe[K, V any](out *strings.Builder, driver *topologytest.Driver, topic topology.Topic[K, V]) {
	for _, r := range topologytest.Output(driver, topic).ReadAll() {
		value := fmt.Sprintf("%+v", r.Value)
		if r.NullValue {
			value = "deleted"
		}
		fmt.Fprintf(out, "%s/%d %+v: %s\n", topic.Name(), r.Partition, r.Key, value)
	}
}

func transcribeRows[K, V any](out *strings.Builder, driver *topologytest.Driver, table topology.Table[K, V]) {
	described, _ := table.Describe()
	for _, row := range topologytest.Store(driver, table).All() {
		fmt.Fprintf(out, "row of %s %+v: %+v\n", described.Store, row.Key, row.Value)
	}
}

// TestRowsAgainstModel compares the tables with what a program says that has the orders in a map, after random changes.
func TestRowsAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := topology.New("shop")
	tables := rowTopology(b)
	driver := topologytest.New(t, build(t, b), topologytest.CommitEvery(7))
	in := topologytest.Input(driver, purchases)
	orders := map[string]purchase{}
	for range 2000 {
		id := strconv.Itoa(random.IntN(60))
		if random.IntN(4) == 0 {
			delete(orders, id)
			in.PipeTombstone(id)
			continue
		}
		orders[id] = randomPurchase(random)
		in.Pipe(id, orders[id])
	}
	driver.Commit()
	byBucketWant, byPriceWant := map[byBucket]purchase{}, map[byPrice]purchase{}
	counts, revenue := map[bucketOf]int64{}, map[string]int64{}
	for id, p := range orders {
		byBucketWant[byBucket{Partition: p.Customer, Sort: bucketAndID{First: bucket(p), Second: id}}] = p
		byPriceWant[byPrice{Partition: p.Customer, Sort: codecs.Tuple2[int64, string]{First: p.Pence, Second: id}}] = p
		counts[bucketOf{Partition: p.Customer, Sort: bucket(p)}]++
		revenue[p.Customer] += p.Pence
	}
	compareRows(t, driver, tables.byBucket, byBucketWant)
	compareRows(t, driver, tables.byPrice, byPriceWant)
	compareRows(t, driver, tables.counts, counts)
	compareRows(t, driver, tables.revenue, revenue)
	places(t, driver, rowsOut, func(key byBucket) string { return key.Partition })
	places(t, driver, bucketCounts, func(key bucketOf) string { return key.Partition })
	places(t, driver, revenueOut, func(key string) string { return key })
}

func randomPurchase(random *rand.Rand) purchase {
	return purchase{
		Customer: []string{"", "alice", "bob", "carol\x00", "dave"}[random.IntN(5)],
		Label:    strconv.Itoa(random.IntN(10)),
		Pence:    []int64{1, 499, 500, 5000, 5001, 123456}[random.IntN(6)],
	}
}

// compareRows compares a table with what it has to be; a number that has come down to 0 may be there or not.
func compareRows[K comparable, V comparable](t *testing.T, driver *topologytest.Driver, table topology.Table[K, V], want map[K]V) {
	t.Helper()
	described, _ := table.Describe()
	var zero V
	found := 0
	for _, row := range topologytest.Store(driver, table).All() {
		if wanted, there := want[row.Key]; row.Value != wanted || (!there && row.Value != zero) {
			t.Errorf("%s has %+v: %+v, want %+v", described.Store, row.Key, row.Value, wanted)
		}
		if row.Value != zero {
			found++
		}
	}
	if found != len(want) {
		t.Errorf("%s has %d rows, want %d", described.Store, found, len(want))
	}
}

// places checks that records are where a producer puts them that knows nothing of rows.
func places[K, V any](t *testing.T, driver *topologytest.Driver, topic topology.Topic[K, V], plain func(K) string) {
	t.Helper()
	records := topologytest.Output(driver, topic).ReadAll()
	if len(records) == 0 {
		t.Errorf("%s has no records", topic.Name())
	}
	for _, r := range records {
		if want := partition.ForKey([]byte(plain(r.Key)), 3); r.Partition != want {
			t.Errorf("%s: %+v is on partition %d, want %d", topic.Name(), r.Key, r.Partition, want)
		}
	}
}

// TestRowsAtEveryCrash loses the process at every moment of a script of moves and deletions.
func TestRowsAtEveryCrash(t *testing.T) {
	b := topology.New("shop")
	rowTopology(b)
	random := rand.New(rand.NewPCG(1, 2))
	var script []func(*topologytest.Driver)
	for range 40 {
		id, p, gone := strconv.Itoa(random.IntN(5)), randomPurchase(random), random.IntN(4) == 0
		script = append(script, func(d *topologytest.Driver) {
			in := topologytest.Input(d, purchases)
			if gone {
				in.PipeTombstone(id)
				return
			}
			in.Pipe(id, p)
		})
	}
	topologytest.EveryStep(t, build(t, b), script, topologytest.CommitEvery(3))
}

// TestWithin tells what does not stay on its partition.
func TestWithin(t *testing.T) {
	b := topology.New("shop")
	rows := b.Table(rowsOut, "rows")
	other := func(r byBucket, p purchase) string { return p.Customer }
	rows.ToRowsWithin("other", func(r byBucket, p purchase) (string, purchase) { return other(r, p), p }, codecs.String(), codecs.JSON[purchase]())
	b2 := topology.New("shop")
	b2.Table(rowsOut, "rows").GroupWithin(func(r byBucket, p purchase) (string, int64) { return other(r, p), 1 }, codecs.String(), codecs.Int64()).Count("counts")
	b3 := topology.New("shop")
	b3.From(rowsOut).SelectKeyWithin(other, codecs.String()).GroupByKey().Count("counts")
	for name, built := range map[string]*topology.Topology{"toRowsWithin": build(t, b), "groupWithin": build(t, b2), "selectKeyWithin": build(t, b3)} {
		driver := topologytest.New(t, built)
		in := topologytest.Input(driver, rowsOut)
		in.Pipe(byBucket{Partition: "alice"}, purchase{Customer: "alice"})
		if letters := driver.DeadLetters(); len(letters) != 0 {
			t.Errorf("%s: %+v", name, letters)
		}
		in.Pipe(byBucket{Partition: "alice"}, purchase{Customer: "bob"})
		letters := driver.DeadLetters()
		if len(letters) != 1 || letters[0].Node != name || !strings.Contains(letters[0].Error, "partition part") {
			t.Errorf("%s: a key of another part gave %+v", name, letters)
		}
	}
}

// TestRowsThatArrive: a topic of rows is read and counted without being repartitioned, wherever its producer learned to
// place keys.
func TestRowsThatArrive(t *testing.T) {
	b := topology.New("shop")
	counts := b.From(rowsOut).SelectKeyWithin(func(r byBucket, _ purchase) string { return r.Partition }, codecs.String()).GroupByKey().Count("counts")
	shop := build(t, b)
	if text := shop.Describe(); strings.Contains(text, "repartition") {
		t.Errorf("it is repartitioned:\n%s", text)
	}
	driver := topologytest.New(t, shop)
	in := topologytest.Input(driver, rowsOut)
	for i := range 50 {
		in.Pipe(byBucket{Partition: strconv.Itoa(i % 5), Sort: bucketAndID{Second: strconv.Itoa(i)}}, purchase{})
	}
	compareRows(t, driver, counts, map[string]int64{"0": 10, "1": 10, "2": 10, "3": 10, "4": 10})
}

// TestDecideByRows decides commands whose aggregate is a row.
func TestDecideByRows(t *testing.T) {
	commands := topology.NewTopic[bucketOf, string]("commands", bucketKeys, codecs.String(), topology.Partitions(7))
	b := topology.New("shop")
	decided := b.From(commands).Decide("lists", topology.Decider[bucketOf, string, string, string]{
		ID:     func(id string) string { return id },
		Decide: func(_ string, _ bool, id string) topology.Decision[string] { return topology.Accept(id) },
		Evolve: func(list string, _ bool, id string) string { return list + id },
	})
	decided.Events.To(topology.NewTopic[bucketOf, string]("events", bucketKeys, codecs.String(), topology.Partitions(7)))
	driver := topologytest.New(t, build(t, b))
	in := topologytest.Input(driver, commands)
	want := map[bucketOf]string{}
	for i := range 30 {
		key := bucketOf{Partition: strconv.Itoa(i % 10), Sort: strconv.Itoa(i % 3)}
		want[key] += fmt.Sprint(i, ";")
		in.Pipe(key, fmt.Sprint(i, ";"))
	}
	compareRows(t, driver, decided.State, want)
	in.Pipe(bucketOf{Partition: "1"}, "x", topologytest.OnPartition((partition.ForKey([]byte("1"), 7)+1)%7))
	if letters := driver.DeadLetters(); len(letters) != 1 {
		t.Errorf("a command on a wrong partition gave %+v", letters)
	}
}
