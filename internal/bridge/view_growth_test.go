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

// TestCountedRowsCostTheSame: a view applies and counts a row of a partition part with 100,000 rows for at most 1.2 times the
// processor time of one with 10, and has the count at hand.
func TestCountedRowsCostTheSame(t *testing.T) {
	const customers, perRound = 500, 500
	most := 100_000
	if testing.Short() {
		most = 1000 // which is no measure of time, and tells whether the counts are right
	}
	rows := codecs.Rows(codecs.OrderedString(), codecs.OrderedInt64())
	engine := storetest.LevelDB(t)
	kinds := []codecs.Prefixer{rows.Partition()}
	view := &View{config: ViewConfig{Name: "rows", Topic: "rows-changelog"}, log: slog.New(slog.DiscardHandler)}
	p := &viewPartition{view: view, batch: store.NewBatch(), counts: newViewCounts("rows", kinds), session: &viewSession{}}
	offset := int64(0)
	put := func(customer func(int) string) time.Duration {
		batch := &viewBatch{}
		for i := range perRound {
			key, err := rows.Append(nil, codecs.Row[string, int64]{Partition: customer(i), Sort: offset})
			if err != nil {
				t.Fatal(err)
			}
			batch.records = append(batch.records, &kgo.Record{Key: key, Value: make([]byte, 60), Offset: offset})
			offset++
		}
		batch.next = offset
		before := costtest.ProcessorTime(t)
		p.batch.Reset()
		if _, err := p.gather(engine, batch); err != nil {
			t.Fatal(err)
		}
		if err := engine.Apply(p.batch); err != nil {
			t.Fatal(err)
		}
		return costtest.ProcessorTime(t) - before
	}
	many := func(int) string { return "many" }
	few := func(i int) string { return fmt.Sprint("few-", i%customers) }
	for range 10 {
		put(few)
	}
	counted := 0
	putMany := func() time.Duration {
		counted += perRound
		return put(many)
	}
	for range most / perRound {
		putMany()
	}
	ratio := costtest.Ratio(func() time.Duration { return put(few) }, putMany)
	t.Logf("a row at %d costs %.2f times one at 10", most, ratio)
	if ratio > 1.2 && !testing.Short() {
		t.Errorf("a row at 100,000 costs %.2f times one at 10, want at most 1.2", ratio)
	}
	prefix, err := rows.Partition().Append([]byte{1}, "many")
	if err != nil {
		t.Fatal(err)
	}
	if count, err := readCount(engine, countsStore("rows"), prefix); err != nil || count != int64(counted) {
		t.Errorf("the count is %d, %v, want %d", count, err, counted)
	}
}
