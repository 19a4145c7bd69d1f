package topology_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/store/storetest"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// TestRowsCostTheSame: an order of a customer with 100,000 orders costs a task at most 1.2 times the processor time of one of
// a customer with 10, rows, count and total together. A list in one value, which is what rows are for, does not: that it
// fails tells that the measure can.
func TestRowsCostTheSame(t *testing.T) {
	rows := topology.New("shop")
	rowTopology(rows)
	if testing.Short() { // which is no measure of time, and tells that both grow
		t.Logf("an order at 1,000 costs %.2f times one at 10", growth(t, build(t, rows), "shop-by-bucket-repartition", 1000))
		return
	}
	most := 0.0
	for range 3 { // whatever else the machine does makes it worse, never better
		most = growth(t, build(t, rows), "shop-by-bucket-repartition", 100_000)
		t.Logf("an order at 100,000 costs %.2f times one at 10", most)
		if most <= 1.2 {
			break
		}
	}
	if most > 1.2 {
		t.Errorf("an order at 100,000 costs %.2f times one at 10, want at most 1.2", most)
	}
	list := topology.New("shop")
	list.From(rowsOut).SelectKeyWithin(func(r byBucket, _ purchase) string { return r.Partition }, codecs.String()).GroupByKey().
		Aggregate("lists", func() []purchase { return nil }, func(_ string, p purchase, all []purchase) []purchase { return append(all, p) }, codecs.JSON[[]purchase]())
	if got := growth(t, build(t, list), "rows", 1000); got < 1.2 {
		t.Errorf("a list of 1,000 costs %.2f times one of 10: the measure sees nothing", got)
	}
}

// growth returns how much more processor time an order of a customer with so many orders takes than one of customers who have
// ten.
func growth(t *testing.T, built *topology.Topology, topic string, orders int) float64 {
	t.Helper()
	const customers, perRound = 500, 500
	engine := storetest.LevelDB(t)
	g := &growing{t: t, topic: topic, engine: engine, batch: store.NewBatch()}
	var err error
	g.task, err = task.New(task.Config{SubTopology: subOf(t, built.Graph(), topic), Partitions: 1, Base: engine})
	if err != nil {
		t.Fatal(err)
	}
	many := func(int) string { return "many" }
	few := func(i int) string { return fmt.Sprint("few-", i%customers) }
	g.orders(10*customers, few)
	for range orders / perRound {
		g.orders(perRound, many)
	}
	return costtest.Ratio(
		func() time.Duration { return g.orders(perRound, few) },
		func() time.Duration { return g.orders(perRound, many) },
	)
}

func subOf(t *testing.T, g *graph.Graph, topic string) *graph.SubTopology {
	t.Helper()
	for _, sub := range g.SubTopologies {
		if slices.Contains(sub.SourceTopics(), topic) {
			return sub
		}
	}
	t.Fatalf("nothing reads %s", topic)
	return nil
}

// growing is a task that gets orders.
type growing struct {
	t      *testing.T
	topic  string
	task   *task.Task
	engine store.Engine
	batch  *store.Batch
	offset int64
}

// orders steps and commits that many orders and returns the processor time that took.
func (g *growing) orders(count int, customer func(int) string) time.Duration {
	g.t.Helper()
	records := make([]task.Record, 0, count)
	for i := range count {
		p := purchase{Customer: customer(i), Label: "tea", Pence: int64(i % 9000)}
		key, err := bucketRows.Append(nil, byBucket{Partition: p.Customer, Sort: bucketAndID{First: bucket(p), Second: fmt.Sprintf("%012d", g.offset)}})
		if err != nil {
			g.t.Fatal(err)
		}
		value, err := codecs.JSON[purchase]().Append(nil, p)
		if err != nil {
			g.t.Fatal(err)
		}
		records = append(records, task.Record{Topic: g.topic, Key: key, Value: value, Offset: g.offset, Timestamp: g.offset})
		g.offset++
	}
	before := costtest.ProcessorTime(g.t)
	for _, record := range records {
		if err := g.task.Step(record); err != nil {
			g.t.Fatal(err)
		}
	}
	g.batch.Reset()
	g.task.Seal().Write(g.batch)
	if err := g.engine.Apply(g.batch); err != nil {
		g.t.Fatal(err)
	}
	g.task.Committed()
	return costtest.ProcessorTime(g.t) - before
}
