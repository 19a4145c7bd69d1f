package store

import (
	"errors"
	"testing"
)

// TestDiskFull fills the disk after ever more bytes: what Apply confirmed is there afterwards, the error says what to
// do, and nothing is written any more until the store is opened again.
func TestDiskFull(t *testing.T) {
	const history = 60
	filled := 0
	for room := 0; room < 150_000; room += 1 + room/40 {
		d := newDisk()
		engine, err := openFiles(d, historyOptions)
		if err != nil {
			t.Fatal(err)
		}
		d.limit(room)
		batch := NewBatch()
		confirmed := 0
		for err == nil && confirmed < history {
			historyBatch(batch, confirmed+1)
			if err = engine.Apply(batch); err == nil {
				confirmed++
			}
		}
		if err != nil {
			filled++
			checkFull(t, engine, d, err, room)
		}
		if err := engine.Close(); err != nil && !errors.Is(err, ErrDiskFull) {
			t.Fatalf("room for %d bytes: Close: %v", room, err)
		}
		n, intact := d.open(t, "after the disk was full")
		if !intact || n < confirmed || n > confirmed+1 {
			t.Fatalf("room for %d bytes: at batch %d, intact %v; %d batches were confirmed", room, n, intact, confirmed)
		}
		full := d.crash()
		full.limit(0)
		if engine, err := openFiles(full, historyOptions); !errors.Is(err, ErrDiskFull) {
			t.Fatalf("opening on a full disk: %v, %v, want ErrDiskFull", engine, err)
		}
		if n, intact := full.open(t, "after an opening that failed"); !intact || n < confirmed {
			t.Fatalf("after an opening that failed: at batch %d, intact %v; %d batches were confirmed", n, intact, confirmed)
		}
	}
	if filled == 0 {
		t.Error("the disk was never full")
	}
}

// checkFull checks an engine whose last Apply failed with err.
func checkFull(t *testing.T, engine *levelDB, d *disk, err error, room int) {
	t.Helper()
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("room for %d bytes: Apply: %v, want ErrDiskFull", room, err)
	}
	d.limit(1 << 30) // there is space again, but nobody knows where the journal ends
	batch := NewBatch()
	batch.Put("a", []byte("key"), []byte("value"))
	if err := engine.Apply(batch); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("room for %d bytes: Apply after the failed one: %v, want ErrDiskFull", room, err)
	}
	if err := engine.DeleteStore("a", historyChangelog); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("room for %d bytes: DeleteStore after a failed Apply: %v, want ErrDiskFull", room, err)
	}
}

// TestDeleteStoreCutOff stops a deletion at every size of what it writes: the store is there whole or not at all, and
// other stores are whole.
func TestDeleteStoreCutOff(t *testing.T) {
	const rows = 3 * deletesPerBatch / 2
	d := newDisk()
	options := historyOptions
	options.WriteBuffer = 1 << 20
	engine, err := openFiles(d, options)
	if err != nil {
		t.Fatal(err)
	}
	batch := NewBatch()
	for i := range rows {
		batch.Put("a", []byte{byte(i >> 8), byte(i)}, []byte("value"))
	}
	batch.Put("b", []byte("key"), []byte("value"))
	batch.SetCheckpoint(Checkpoint{Changelog: "a-changelog", Offset: rows})
	batch.SetCheckpoint(Checkpoint{Changelog: "b-changelog", Offset: 1})
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
	whole, gone := 0, 0
	for room := 0; room < 80_000; room += 1 + room/4 {
		cut := d.crash()
		engine, err := openFiles(cut, options)
		if err != nil {
			t.Fatal(err)
		}
		cut.limit(room)
		deleteErr := engine.DeleteStore("a", "a-changelog")
		if deleteErr != nil && !errors.Is(deleteErr, ErrDiskFull) {
			t.Fatalf("room for %d bytes: %v", room, deleteErr)
		}
		_ = engine.Close() // repeats that the disk is full
		if engine, err = openFiles(cut.crash(), options); err != nil {
			t.Fatal(err)
		}
		switch n := countRows(t, engine, "a"); n {
		case 0:
			gone++
		case rows:
			whole++
		default:
			t.Fatalf("room for %d bytes: %d of %d rows are left", room, n, rows)
		}
		_, found := engine.Checkpoint("a-changelog")
		if n := countRows(t, engine, "a"); found != (n == rows) {
			t.Errorf("room for %d bytes: %d rows, checkpoint there %v", room, n, found)
		}
		if _, found := engine.Checkpoint("b-changelog"); !found || countRows(t, engine, "b") != 1 {
			t.Errorf("room for %d bytes: another store was touched", room)
		}
		if left := len(engine.catalog.garbage); left != 0 {
			t.Errorf("room for %d bytes: opening left %d deleted stores behind", room, left)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if whole == 0 || gone == 0 {
		t.Errorf("the store was there %d times and gone %d times: the test has lost its point", whole, gone)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
}

func countRows(t *testing.T, engine Engine, name string) (n int) {
	t.Helper()
	rows := engine.Range(name, nil, nil, false)
	for rows.Next() {
		n++
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}
