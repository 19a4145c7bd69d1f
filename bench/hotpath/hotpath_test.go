package hotpath_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/store/storetest"
	"github.com/tidemill/tidemill/internal/task"
)

// The load: updates of values that exist, as the processor has them most of the time.
const (
	keys      = 1000
	perCommit = 500
)

// budgets are the allocations that a record may cost: each round handles perCommit records.
var budgets = []costtest.Budget{
	{Name: "step a command, commit its layer", Most: 20, Prepare: stepAndCommit},
	{Name: "decode a command", Most: 2, Prepare: decodeCommand},
	{Name: "encode an event", Most: 0, Prepare: encodeEvent},
	{Name: "encode and decode a value", Most: 0, Prepare: value},
	{Name: "apply rows to LevelDB", Most: 1, Prepare: func(t testing.TB) func() { return apply(t, storetest.LevelDB(t)) }},
}

func TestBudgets(t *testing.T) { costtest.Check(t, "record", perCommit, budgets...) }

func BenchmarkRecord(b *testing.B) { costtest.Benchmark(b, perCommit, budgets) }

// load returns commands from the i-th on.
func load(i, n int) []task.Record {
	records := make([]task.Record, 0, n)
	for ; n > 0; n-- {
		key := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i%keys)
		action := `"UpdateValue","data":{"value-id":"` + key + `","operation":"ADD","value":1.5}`
		if i < keys {
			action = `"CreateValue","data":{"value-id":"` + key + `","value":3}`
		}
		records = append(records, task.Record{
			Topic: "calculator-commands", Key: []byte(key), Offset: int64(i), Timestamp: int64(i),
			Value: fmt.Appendf(nil, `{"id":"%08x-aaaa-4aaa-8aaa-%012x","action":%s,"timestamp":%d}`, i*2654435761%(1<<32), i, action, i),
		})
		i++
	}
	return records
}

// stepAndCommit steps commands through the calculator's task and commits them to LevelDB: what is between the consumer
// and the producer, without either. The records are made beforehand.
func stepAndCommit(t testing.TB) func() {
	described, _, err := calculator.Topology()
	if err != nil {
		t.Fatal(err)
	}
	base := storetest.LevelDB(t)
	run, err := task.New(task.Config{SubTopology: described.Graph().SubTopologies[0], Partitions: 1, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	step := func(records []task.Record) {
		for _, record := range records {
			if err := run.Step(record); err != nil {
				t.Fatal(err)
			}
		}
		layer := run.Seal()
		batch.Reset()
		layer.Write(batch)
		if err := base.Apply(batch); err != nil {
			t.Fatal(err)
		}
		run.Committed()
	}
	step(load(0, keys))
	const prepared = 128
	rounds := slices.Collect(slices.Chunk(load(keys, prepared*perCommit), perCommit))
	next := 0
	return func() {
		step(rounds[next%prepared]) // ids that come again are duplicates, which cost less: a test has fewer rounds than that
		next++
	}
}

func decodeCommand(t testing.TB) func() {
	codec, data := calculator.Commands.Value(), load(keys, 1)[0].Value
	return func() {
		for range perCommit {
			if _, err := codec.Decode(data); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func encodeEvent(t testing.TB) func() {
	codec := calculator.Events.Value()
	event := calculator.Event{
		ID: "3f2c8b1a-aaaa-4aaa-8aaa-000000000001", ParentID: "3f2c8b1a-aaaa-4aaa-8aaa-000000000000", Action: "ValueUpdated", Timestamp: 1_700_000_000_000,
		Data: calculator.Change{ValueID: "00000001-0000-4000-8000-000000000000", Operation: "ADD", Value: calculator.NumberOf(1.5), Result: calculator.NumberOf(4.5)},
	}
	buffer := make([]byte, 0, 512)
	return func() {
		for range perCommit {
			if _, err := codec.Append(buffer, event); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func value(t testing.TB) func() {
	codec, buffer := codecs.JSON[calculator.Value](), make([]byte, 0, 64)
	return func() {
		for i := range perCommit {
			data, err := codec.Append(buffer, calculator.Value{Value: calculator.NumberOf(float64(i))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := codec.Decode(data); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// apply writes a commit's rows with their checkpoint as one batch.
func apply(t testing.TB, engine store.Engine) func() {
	batch, row := store.NewBatch(), []byte(`{"value":4.5}`)
	ids := make([][]byte, keys)
	for i := range ids {
		ids[i] = fmt.Appendf(nil, "%08d-0000-4000-8000-000000000000", i)
	}
	offset := int64(0)
	return func() {
		batch.Reset()
		for i := range perCommit {
			batch.Put("values", ids[(int(offset)+i)%keys], row)
		}
		offset += perCommit
		batch.SetCheckpoint(store.Checkpoint{Changelog: "calculator-values-changelog", Offset: offset})
		if err := engine.Apply(batch); err != nil {
			t.Fatal(err)
		}
	}
}
