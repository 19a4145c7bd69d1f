package storetest

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

func snapshots(t *testing.T, engine store.Engine) {
	for i := range 1000 {
		put(t, engine, "values", row{fmt.Sprintf("%04d", i), "old"})
	}
	ascending := engine.Range("values", nil, nil, false)
	descending := engine.Range("values", nil, nil, true)
	ascending.Next()
	apply(t, engine, func(batch *store.Batch) {
		for i := range 1000 {
			batch.Put("values", fmt.Appendf(nil, "%04d", i), []byte("new"))
			batch.Put("values", fmt.Appendf(nil, "%04d+", i), []byte("new"))
		}
		batch.Delete("values", []byte("0500"))
	})
	for name, rows := range map[string]store.Iterator{"ascending": ascending, "descending": descending} {
		got := collect(t, rows)
		want := 1000
		if name == "ascending" {
			want-- // the first was taken above
		}
		if len(got) != want {
			t.Errorf("%s: %d rows, want %d", name, len(got), want)
		}
		for _, r := range got {
			if r.value != "old" {
				t.Fatalf("%s: row %q = %q was written after the iterator was made", name, r.key, r.value)
			}
		}
	}
	if got := len(collect(t, engine.Range("values", nil, nil, false))); got != 1999 {
		t.Errorf("%d rows afterwards, want 1999", got)
	}
}

func iteratorEnd(t *testing.T, engine store.Engine) {
	put(t, engine, "values", row{"a", "1"}, row{"b", "2"})
	for _, descending := range []bool{false, true} {
		rows := engine.Range("values", nil, nil, descending)
		for rows.Next() {
		}
		for range 3 {
			if rows.Next() {
				t.Errorf("Next is true after the end (descending %v)", descending)
			}
		}
		if rows.Key() != nil || rows.Value() != nil || rows.Err() != nil {
			t.Errorf("after the end: Key %q, Value %q, Err %v", rows.Key(), rows.Value(), rows.Err())
		}
		for range 2 {
			if err := rows.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		early := engine.Range("values", nil, nil, descending)
		early.Next()
		if err := early.Close(); err != nil || early.Next() {
			t.Errorf("after an early Close: err %v, or Next is true", err)
		}
	}
}

func batchOrder(t *testing.T, engine store.Engine) {
	apply(t, engine, func(batch *store.Batch) {
		batch.Put("values", []byte("put twice"), []byte("1"))
		batch.Put("other", []byte("put twice"), []byte("3"))
		batch.Put("values", []byte("put twice"), []byte("2"))
		batch.Put("values", []byte("deleted"), []byte("1"))
		batch.Delete("values", []byte("deleted"))
		batch.Delete("values", []byte("put again"))
		batch.Put("values", []byte("put again"), []byte("1"))
	})
	wantRows(t, engine, "values", row{"put again", "1"}, row{"put twice", "2"})
	wantRows(t, engine, "other", row{"put twice", "3"})
}

func batchReuse(t *testing.T, engine store.Engine) {
	batch := store.NewBatch()
	if err := engine.Apply(batch); err != nil {
		t.Errorf("applying an empty batch: %v", err)
	}
	for i := range 3 {
		batch.Reset()
		if batch.Len() != 0 || batch.Bytes() != 0 {
			t.Fatalf("after Reset: Len %d, Bytes %d", batch.Len(), batch.Bytes())
		}
		batch.Put(fmt.Sprintf("store %d", i), []byte("key"), []byte("value"))
		batch.Delete(fmt.Sprintf("store %d", i), []byte("gone"))
		if batch.Len() != 2 || batch.Bytes() != len("keyvaluegone") {
			t.Errorf("Len %d, Bytes %d, want 2 and %d", batch.Len(), batch.Bytes(), len("keyvaluegone"))
		}
		for range 2 { // applying twice is applying once
			if err := engine.Apply(batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		wantRows(t, engine, fmt.Sprintf("store %d", i), row{"key", "value"})
	}
	if got := len(engine.Checkpoints()); got != 0 {
		t.Errorf("%d checkpoints, want none", got)
	}
}

func invalidBatches(t *testing.T, engine store.Engine) {
	put(t, engine, "values", row{"a", "1"})
	for name, fill := range map[string]func(batch *store.Batch){
		"store without a name":      func(b *store.Batch) { b.Put("", []byte("a"), []byte("2")) },
		"delete without a store":    func(b *store.Batch) { b.Delete("", []byte("a")) },
		"store with a long name":    func(b *store.Batch) { b.Put(strings.Repeat("n", 10_000), nil, nil) },
		"checkpoint without a name": func(b *store.Batch) { b.SetCheckpoint(store.Checkpoint{Offset: 1}) },
		"negative offset":           func(b *store.Batch) { b.SetCheckpoint(store.Checkpoint{Changelog: "c", Offset: -1}) },
		"negative partition":        func(b *store.Batch) { b.SetCheckpoint(store.Checkpoint{Changelog: "c", Partition: -1}) },
	} {
		batch := store.NewBatch()
		batch.Put("values", []byte("a"), []byte("2"))
		fill(batch)
		if err := engine.Apply(batch); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	wantRows(t, engine, "values", row{"a", "1"})
	put(t, engine, "values", row{"a", "2"}) // and the engine still takes writes
	wantRows(t, engine, "values", row{"a", "2"})
}

// checkpointOf returns a checkpoint with every field set.
func checkpointOf(changelog string, offset int64) store.Checkpoint {
	return store.Checkpoint{
		Changelog: changelog, Partition: 3, TopicID: [16]byte{1, 2, 15: 16}, Offset: offset,
		Sequence: uint64(offset) * 2, StreamTime: offset - 1_000_000, WrittenAt: 1_900_000_000_000 + offset,
	}
}

func wantCheckpoints(t *testing.T, engine store.Engine, want ...store.Checkpoint) {
	t.Helper()
	byName := map[string]store.Checkpoint{}
	for _, c := range want {
		byName[c.Changelog] = c
		if got, found := engine.Checkpoint(c.Changelog); !found || got != c {
			t.Errorf("Checkpoint(%q) = %+v, %v, want %+v", c.Changelog, got, found, c)
		}
	}
	if got := engine.Checkpoints(); !maps.Equal(got, byName) {
		t.Errorf("Checkpoints() = %+v, want %+v", got, byName)
	}
}

func checkpoints(t *testing.T, engine store.Engine) {
	wantCheckpoints(t, engine)
	if got, found := engine.Checkpoint("none"); found {
		t.Errorf("Checkpoint of an unknown changelog: %+v", got)
	}
	apply(t, engine, func(batch *store.Batch) {
		batch.SetCheckpoint(checkpointOf("a-changelog", 1))
		batch.SetCheckpoint(checkpointOf("b-changelog", 2))
		batch.SetCheckpoint(checkpointOf("a-changelog", 3)) // the last one wins
	})
	wantCheckpoints(t, engine, checkpointOf("a-changelog", 3), checkpointOf("b-changelog", 2))
	apply(t, engine, func(batch *store.Batch) {
		batch.Put("b", []byte("key"), []byte("value"))
		batch.SetCheckpoint(checkpointOf("b-changelog", 1)) // backwards, if the caller says so
	})
	wantCheckpoints(t, engine, checkpointOf("a-changelog", 3), checkpointOf("b-changelog", 1))
	engine.Checkpoints()["c-changelog"] = store.Checkpoint{}
	wantCheckpoints(t, engine, checkpointOf("a-changelog", 3), checkpointOf("b-changelog", 1))
	wantRows(t, engine, "a-changelog")
}

func deleteStore(t *testing.T, engine store.Engine) {
	fill := func(name string, rows int) {
		apply(t, engine, func(batch *store.Batch) {
			for i := range rows {
				batch.Put(name, fmt.Appendf(nil, "%06d", i), []byte(name))
			}
			batch.SetCheckpoint(checkpointOf(name+"-changelog", int64(rows)))
		})
	}
	count := func(name string) int { return len(collect(t, engine.Range(name, nil, nil, false))) }
	fill("a", 10_000)
	fill("ab", 10)
	fill("b", 10)
	for range 2 { // the second time there is nothing to delete
		if err := engine.DeleteStore("a", "a-changelog"); err != nil {
			t.Fatalf("DeleteStore: %v", err)
		}
		wantRows(t, engine, "a")
		wantValue(t, engine, "a", "000001", absent)
		wantCheckpoints(t, engine, checkpointOf("ab-changelog", 10), checkpointOf("b-changelog", 10))
	}
	if count("ab") != 10 || count("b") != 10 {
		t.Errorf("other stores have %d and %d rows, want 10 each", count("ab"), count("b"))
	}
	if size, err := engine.Size("a"); err != nil || size != 0 {
		t.Errorf("the deleted store has size %d, err %v", size, err)
	}
	fill("a", 3)
	if count("a") != 3 {
		t.Errorf("%d rows after a rebuild, want 3", count("a"))
	}
	wantCheckpoints(t, engine, checkpointOf("a-changelog", 3), checkpointOf("ab-changelog", 10), checkpointOf("b-changelog", 10))
	if err := engine.DeleteStore("never written", "never-written-changelog"); err != nil {
		t.Errorf("deleting a store that is not there: %v", err)
	}
}

func sizes(t *testing.T, engine store.Engine) {
	size := func(name string) int64 {
		bytes, err := engine.Size(name)
		if err != nil {
			t.Errorf("Size(%q): %v", name, err)
		}
		return bytes
	}
	if got := size("values"); got != 0 {
		t.Errorf("a store that is not there has size %d", got)
	}
	put(t, engine, "other", row{"a", "1"})
	put(t, engine, "values", row{"a", strings.Repeat("x", 10_000)})
	small := size("values")
	if small < 10_000 || small > 30_000 || size("other") > 1000 {
		t.Errorf("sizes %d and %d of stores with 10,001 and 2 bytes", small, size("other"))
	}
	random := newRandom(t)
	for i := range 100 {
		value := make([]byte, 100_000) // of random bytes, which do not compress
		for j := range value {
			value[j] = byte(random.Uint32())
		}
		put(t, engine, "values", row{fmt.Sprint(i), string(value)})
	}
	if got := size("values"); got < 8_000_000 || got > 25_000_000 {
		t.Errorf("a store with 10 MB has size %d", got)
	}
	if size("other") > 100_000 {
		t.Errorf("a store with one row has size %d", size("other"))
	}
}

func closed(t *testing.T, engine store.Engine) {
	apply(t, engine, func(batch *store.Batch) {
		batch.Put("values", []byte("a"), []byte("1"))
		batch.SetCheckpoint(checkpointOf("c", 1))
	})
	for range 2 {
		if err := engine.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	batch := store.NewBatch()
	batch.Put("values", []byte("a"), []byte("2"))
	_, _, getErr := engine.Get("values", []byte("a"))
	_, sizeErr := engine.Size("values")
	rows := engine.Range("values", nil, nil, false)
	if rows.Next() {
		t.Error("a closed engine has rows")
	}
	for name, err := range map[string]error{
		"Get": getErr, "Size": sizeErr, "Apply": engine.Apply(batch), "Range": rows.Err(),
		"Iterator.Close": rows.Close(), "DeleteStore": engine.DeleteStore("values", "c"),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s of a closed engine: %v, want ErrClosed", name, err)
		}
	}
}

func closeWithIterators(t *testing.T, engine store.Engine) {
	put(t, engine, "values", row{"a", "1"}, row{"b", "2"})
	fresh := engine.Range("values", nil, nil, false)
	begun := engine.Range("values", nil, nil, true)
	if !begun.Next() {
		t.Fatal("no rows")
	}
	if err := engine.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for _, rows := range []store.Iterator{fresh, begun} {
		if rows.Next() || !errors.Is(rows.Err(), store.ErrClosed) {
			t.Errorf("an iterator of a closed engine goes on, or ends with %v", rows.Err())
		}
		if err := rows.Close(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Close of an iterator of a closed engine: %v", err)
		}
	}
}
