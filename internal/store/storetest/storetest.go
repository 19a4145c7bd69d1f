// Package storetest holds the conformance suite of store.Engine: what every engine must do, whichever way it keeps
// its rows. An engine's own tests call Conform and, if it outlives its process, ConformDurable.
package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

// Open opens the engine whose data is in dir, or creates it there. An engine without files ignores dir.
type Open func(dir string) (store.Engine, error)

// Conform runs the cases every engine must pass. Each opens engines of its own, in directories of its own.
func Conform(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, engine store.Engine)
	}{
		{"put get delete", putGetDelete},
		{"value is the caller's own", ownValues},
		{"empty and binary keys and values", awkwardKeys},
		{"names that are prefixes of names", prefixNames},
		{"many stores", manyStores},
		{"ranges", ranges},
		{"prefix ranges", prefixRanges},
		{"range over a snapshot", snapshots},
		{"iterator after its end", iteratorEnd},
		{"order of a batch", batchOrder},
		{"batch reset and reuse", batchReuse},
		{"invalid batches", invalidBatches},
		{"checkpoints", checkpoints},
		{"delete store", deleteStore},
		{"size", sizes},
		{"closed", closed},
		{"close with open iterators", closeWithIterators},
		{"batches are seen whole", wholeBatches},
		{"readers beside a writer", readersBesideWriter},
		{"against a model", func(t *testing.T, engine store.Engine) { againstModel(t, engine, nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, mustOpen(t, open, t.TempDir()))
		})
	}
}

// ConformDurable runs the cases of engines whose data is still there when they are closed and opened again.
func ConformDurable(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"reopen", reopen},
		{"reopen after delete store", reopenDeleted},
		{"stores keep their rows apart over restarts", reopenManyStores},
		{"against a model, with restarts", reopenModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func mustOpen(t *testing.T, open Open, dir string) store.Engine {
	t.Helper()
	engine, err := open(dir)
	if err != nil {
		t.Fatalf("opening the engine: %v", err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("closing the engine: %v", err)
		}
	})
	return engine
}

// row is a key and a value, as text for brevity.
type row struct{ key, value string }

func apply(t *testing.T, engine store.Engine, fill func(batch *store.Batch)) {
	t.Helper()
	batch := store.NewBatch()
	fill(batch)
	if err := engine.Apply(batch); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func put(t *testing.T, engine store.Engine, name string, rows ...row) {
	t.Helper()
	apply(t, engine, func(batch *store.Batch) {
		for _, r := range rows {
			batch.Put(name, []byte(r.key), []byte(r.value))
		}
	})
}

// wantValue checks Get; value "absent" stands for no row.
func wantValue(t *testing.T, engine store.Engine, name, key, value string) {
	t.Helper()
	got, found, err := engine.Get(name, []byte(key))
	switch {
	case err != nil:
		t.Errorf("Get(%q, %q): %v", name, key, err)
	case value == absent && found:
		t.Errorf("Get(%q, %q) = %q, want no row", name, key, got)
	case value != absent && (!found || got == nil || string(got) != value):
		t.Errorf("Get(%q, %q) = %q, %v, want %q", name, key, got, found, value)
	}
}

const absent = "\x00absent"

// collect drains and closes an iterator.
func collect(t *testing.T, rows store.Iterator) []row {
	t.Helper()
	var all []row
	for rows.Next() {
		all = append(all, row{string(rows.Key()), string(rows.Value())})
	}
	if err := rows.Err(); err != nil {
		t.Errorf("iterating: %v", err)
	}
	if err := rows.Close(); err != nil {
		t.Errorf("closing an iterator: %v", err)
	}
	return all
}

// wantRows checks the rows of a whole store, in both directions.
func wantRows(t *testing.T, engine store.Engine, name string, want ...row) {
	t.Helper()
	wantRange(t, engine, name, nil, nil, want...)
}

// wantRange checks a range, given in ascending order, in both directions.
func wantRange(t *testing.T, engine store.Engine, name string, from, to []byte, want ...row) {
	t.Helper()
	for _, descending := range []bool{false, true} {
		got := collect(t, engine.Range(name, from, to, descending))
		if descending {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Range(%q, %q, %q, descending %v), turned ascending = %q, want %q", name, from, to, descending, got, want)
		}
	}
}

func putGetDelete(t *testing.T, engine store.Engine) {
	wantValue(t, engine, "values", "a", absent)
	wantRows(t, engine, "values")
	put(t, engine, "values", row{"a", "1"}, row{"b", "2"})
	wantValue(t, engine, "values", "a", "1")
	wantValue(t, engine, "values", "b", "2")
	wantValue(t, engine, "values", "c", absent)
	put(t, engine, "values", row{"a", "3"})
	wantValue(t, engine, "values", "a", "3")
	apply(t, engine, func(batch *store.Batch) {
		batch.Delete("values", []byte("a"))
		batch.Delete("values", []byte("never there"))
		batch.Delete("never written", []byte("a"))
	})
	wantValue(t, engine, "values", "a", absent)
	wantRows(t, engine, "values", row{"b", "2"})
	wantRows(t, engine, "never written")
}

func ownValues(t *testing.T, engine store.Engine) {
	key, value := []byte("key"), []byte("value")
	batch := store.NewBatch()
	batch.Put("values", key, value)
	copy(key, "KEY")
	copy(value, "VALUE")
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
	batch.Reset()
	batch.Put("values", []byte("another"), []byte("other"))
	wantValue(t, engine, "values", "key", "value")
	got, _, _ := engine.Get("values", []byte("key"))
	copy(got, "VALUE")
	_ = append(got, "longer"...)
	wantValue(t, engine, "values", "key", "value")
}

// awkward are keys in ascending order.
var awkward = []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "aa", "\x7f", "\x80", "\xc3\xa4", "\xff", "\xff\x00", "\xff\xff"}

func awkwardKeys(t *testing.T, engine store.Engine) {
	var want []row
	apply(t, engine, func(batch *store.Batch) {
		for i := range awkward {
			key := awkward[(i*7)%len(awkward)] // not in order; 7 and 15 have no common factor
			batch.Put("keys", []byte(key), []byte("<"+key+">"))
		}
	})
	for _, key := range awkward {
		wantValue(t, engine, "keys", key, "<"+key+">")
		want = append(want, row{key, "<" + key + ">"})
	}
	wantRows(t, engine, "keys", want...)
	for i, from := range awkward {
		for j, to := range awkward {
			if i <= j {
				wantRange(t, engine, "keys", []byte(from), []byte(to), want[i:j]...)
			} else {
				wantRange(t, engine, "keys", []byte(from), []byte(to))
			}
		}
		wantRange(t, engine, "keys", []byte(from), nil, want[i:]...)
		wantRange(t, engine, "keys", nil, []byte(from), want[:i]...)
	}
	put(t, engine, "empty", row{"", ""}, row{"a", ""})
	wantValue(t, engine, "empty", "", "")
	wantValue(t, engine, "empty", "a", "")
	wantRows(t, engine, "empty", row{"", ""}, row{"a", ""})
	apply(t, engine, func(batch *store.Batch) { batch.Delete("empty", nil) })
	wantRows(t, engine, "empty", row{"a", ""})
	large := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	put(t, engine, "large", row{large[:100_000], large})
	wantValue(t, engine, "large", large[:100_000], large)
}

func prefixNames(t *testing.T, engine store.Engine) {
	names := []string{"ab", "a", "abc", "a\x00", "\x00", "\xff", "ä"}
	for _, name := range names {
		put(t, engine, name, row{"b", "in " + name}, row{"bc", name}, row{"", name})
	}
	for _, name := range names {
		wantRows(t, engine, name, row{"", name}, row{"b", "in " + name}, row{"bc", name})
	}
	apply(t, engine, func(batch *store.Batch) { batch.Delete("a", []byte("b")) })
	wantValue(t, engine, "a", "b", absent)
	wantValue(t, engine, "ab", "b", "in ab")
	wantValue(t, engine, "ab", "", "ab")
	wantRows(t, engine, "b")
}

func manyStores(t *testing.T, engine store.Engine) {
	const stores = 300 // more than one byte's worth of names
	apply(t, engine, func(batch *store.Batch) {
		for i := range stores {
			batch.Put(fmt.Sprintf("store %d", i), []byte("\xff\xff"), fmt.Append(nil, i))
			batch.Put(fmt.Sprintf("store %d", i), nil, fmt.Append(nil, -i))
		}
	})
	for i := range stores {
		wantRows(t, engine, fmt.Sprintf("store %d", i), row{"", fmt.Sprint(-i)}, row{"\xff\xff", fmt.Sprint(i)})
	}
}

func ranges(t *testing.T, engine store.Engine) {
	put(t, engine, "other", row{"a", "x"}, row{"z", "x"})
	put(t, engine, "letters", row{"b", "2"}, row{"d", "4"}, row{"f", "6"})
	put(t, engine, "third", row{"a", "x"}, row{"z", "x"})
	all := []row{{"b", "2"}, {"d", "4"}, {"f", "6"}}
	wantRows(t, engine, "letters", all...)
	for _, c := range []struct {
		from, to   string
		first, end int
	}{
		{"a", "z", 0, 3},
		{"b", "f", 0, 2},
		{"b", "f\x00", 0, 3},
		{"c", "e", 1, 2},
		{"d", "d", 0, 0},
		{"d", "d\x00", 1, 2},
		{"e", "c", 0, 0},
		{"f", "b", 0, 0},
		{"g", "z", 0, 0},
		{"", "b", 0, 0},
		{"", "c", 0, 1},
		{"", "", 0, 0},
		{"b", "", 0, 0},
	} {
		wantRange(t, engine, "letters", []byte(c.from), []byte(c.to), all[c.first:c.end]...)
	}
	wantRange(t, engine, "letters", nil, []byte{})
	wantRange(t, engine, "letters", []byte{}, nil, all...)
	apply(t, engine, func(batch *store.Batch) { batch.Delete("letters", []byte("d")) })
	wantRows(t, engine, "letters", row{"b", "2"}, row{"f", "6"})
}

func prefixRanges(t *testing.T, engine store.Engine) {
	put(t, engine, "rows", row{"u1/a", "1"}, row{"u1/b", "2"}, row{"u10/a", "3"}, row{"u2/a", "4"}, row{"\xff\xffa", "5"}, row{"\xff", "6"})
	prefix := func(p string) ([]byte, []byte) { return []byte(p), store.PrefixEnd([]byte(p)) }
	for p, want := range map[string][]row{
		"u1/": {{"u1/a", "1"}, {"u1/b", "2"}}, "u1": {{"u1/a", "1"}, {"u1/b", "2"}, {"u10/a", "3"}}, "u3": nil,
		"\xff": {{"\xff", "6"}, {"\xff\xffa", "5"}}, "\xff\xff": {{"\xff\xffa", "5"}},
	} {
		from, to := prefix(p)
		wantRange(t, engine, "rows", from, to, want...)
	}
}
