package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// The tests of crashes and damage write a known history of batches, damage the files, and open them again. Whatever
// was done, the engine must either report the damage or hold exactly the rows its checkpoint stands for.

const historyChangelog = "values-changelog"

// historyOptions keep buffers small: the tests open thousands of engines.
var historyOptions = Options{WriteBuffer: 32 << 10, Cache: NewCache(64 << 10)}

// historyBatch fills in batch number n, counted from 1. Batch 7 of each ten fills more than one block of a journal.
func historyBatch(batch *Batch, n int) {
	batch.Reset()
	value := fmt.Appendf(nil, "value of batch %d", n)
	batch.Put("a", fmt.Appendf(nil, "%d", n%5), value)
	batch.Put("b", fmt.Appendf(nil, "%d", n), value)
	batch.Delete("b", fmt.Appendf(nil, "%d", n-3))
	if n%10 == 7 {
		batch.Put("a", []byte("large"), make([]byte, 40_000))
	}
	batch.SetCheckpoint(Checkpoint{Changelog: historyChangelog, Offset: int64(n), Sequence: uint64(n)})
}

// historyRows returns what the stores hold after n batches.
func historyRows(n int) map[string]string {
	rows := map[string]string{}
	for i := 1; i <= n; i++ {
		value := fmt.Sprintf("value of batch %d", i)
		rows[fmt.Sprintf("a/%d", i%5)] = value
		rows[fmt.Sprintf("b/%d", i)] = value
		delete(rows, fmt.Sprintf("b/%d", i-3))
		if i%10 == 7 {
			rows["a/large"] = string(make([]byte, 40_000))
		}
	}
	return rows
}

// writeHistory applies the batches from first to last.
func writeHistory(t *testing.T, engine Engine, first, last int) {
	t.Helper()
	batch := NewBatch()
	for n := first; n <= last; n++ {
		historyBatch(batch, n)
		if err := engine.Apply(batch); err != nil {
			t.Fatalf("batch %d: %v", n, err)
		}
	}
}

// readHistory reads everything and returns the number of batches the engine stands at, or an error if rows and
// checkpoint do not agree.
func readHistory(engine Engine) (n int, err error) {
	if checkpoint, found := engine.Checkpoint(historyChangelog); found {
		n = int(checkpoint.Offset)
	}
	got := map[string]string{}
	for _, name := range []string{"a", "b"} {
		rows := engine.Range(name, nil, nil, false)
		for rows.Next() {
			got[name+"/"+string(rows.Key())] = string(rows.Value())
		}
		if err := rows.Close(); err != nil {
			return n, err
		}
	}
	want := historyRows(n)
	if !maps.Equal(got, want) {
		return n, fmt.Errorf("the checkpoint is that of batch %d, the rows are not: %d rows, want %d", n, len(got), len(want))
	}
	for key, value := range want {
		if len(value) > 1000 {
			continue // read above; thousands of times it takes a while
		}
		found, ok, err := engine.Get(key[:1], []byte(key[2:]))
		if err != nil {
			return n, err
		}
		if !ok || string(found) != value {
			return n, fmt.Errorf("after batch %d, Get(%s) = %.40q, %v", n, key, found, ok)
		}
	}
	return n, nil
}

// of returns the files of one type, the oldest first.
func (d *disk) of(kind storage.FileType) []storage.FileDesc {
	found, _ := d.List(kind)
	slices.SortFunc(found, func(a, b storage.FileDesc) int { return int(a.Num - b.Num) })
	return found
}

// open opens the store on a copy of the disk and reads everything. It returns the number of batches found, or -1 and false if the engine
// reported corruption; anything else fails the test.
func (d *disk) open(t *testing.T, what string) (n int, intact bool) {
	t.Helper()
	engine, err := openFiles(d.crash(), historyOptions)
	if err == nil {
		if n, err = readHistory(engine); err == nil {
			// What was found must also be fit for going on.
			writeHistory(t, engine, n+1, n+2)
			_, err = readHistory(engine)
		}
		if closeErr := engine.Close(); err == nil {
			err = closeErr
		}
	}
	if errors.Is(err, ErrCorrupt) {
		return -1, false
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return n, true
}
