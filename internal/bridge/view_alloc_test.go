package bridge

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/store/storetest"
)

// viewPerFetch is how many rows a view applies at a time in its budgets' tests.
const viewPerFetch = 500

// viewBudgets are the allocations that applying a row to a view may cost: each round is a fetch.
var viewBudgets = []costtest.Budget{
	{Name: "rows", Most: 0.2, Prepare: func(t testing.TB) func() { return applyToView(t, nil, false) }},
	{Name: "rows and their counts", Most: 9, Prepare: func(t testing.TB) func() {
		return applyToView(t, []codecs.Prefixer{viewBudgetRows.Partition()}, false)
	}},
	{Name: "rows that are watched", Most: 2.5, Prepare: func(t testing.TB) func() { return applyToView(t, nil, true) }},
}

var viewBudgetRows = codecs.Rows(codecs.OrderedString(), codecs.OrderedInt64())

func TestViewApplyBudgets(t *testing.T) { costtest.Check(t, "row", viewPerFetch, viewBudgets...) }

func BenchmarkViewApply(b *testing.B) { costtest.Benchmark(b, viewPerFetch, viewBudgets) }

// applyToView returns a function that applies the rows of one fetch to a view's partition that can be read, on LevelDB. Half of
// the rows are there already.
func applyToView(t testing.TB, counts []codecs.Prefixer, watched bool) func() {
	engine := storetest.LevelDB(t)
	hub := newViewHub()
	hub.active.Store(watched)
	view := &View{config: ViewConfig{Name: "rows", Topic: "rows-changelog", Now: time.Now}, log: slog.New(slog.DiscardHandler), hub: hub}
	p := &viewPartition{
		view: view, batch: store.NewBatch(), counts: newViewCounts("rows", counts), session: &viewSession{},
		feed: &viewFeed{hub: hub, limit: viewRecentBytes},
	}
	p.engine.Store(&viewEngine{engine})
	p.ready.Store(true)
	const prepared = 80
	batches := make([]*viewBatch, prepared)
	for n := range batches {
		batches[n] = &viewBatch{}
		for i := range viewPerFetch {
			key, err := viewBudgetRows.Append(nil, codecs.Row[string, int64]{Partition: fmt.Sprintf("customer-%d", i%50), Sort: int64(n*viewPerFetch/2 + i)})
			if err != nil {
				t.Fatal(err)
			}
			batches[n].records = append(batches[n].records, &kgo.Record{Key: key, Value: []byte(`{"label":"cup","price":"4.50","quantity":1}`)})
		}
	}
	next := 0
	return func() {
		batch := batches[next%prepared]
		for i, record := range batch.records {
			record.Offset = int64(next*viewPerFetch + i)
		}
		next++
		batch.next = int64(next * viewPerFetch)
		if err := p.apply(batch); err != nil {
			t.Fatal(err)
		}
	}
}
