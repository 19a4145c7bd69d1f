package store

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// growing are options with which the test's history makes a store large.
func growing() Options {
	options := historyOptions
	options.largeStore = 30_000
	return options
}

// historyUntilGrown writes batches until the engine has larger buffers, and returns the number of the last one. After each batch
// the store is opened as a kill would leave it.
func historyUntilGrown(t *testing.T, engine *levelDB, d *disk) int {
	t.Helper()
	for n := 1; n <= 100; n++ {
		writeHistory(t, engine, n, n)
		if at, intact := d.open(t, "killed"); !intact || at != n {
			t.Fatalf("killed after batch %d: at batch %d, intact %v", n, at, intact)
		}
		if engine.options.WriteBuffer == largeWriteBuffer {
			return n
		}
	}
	t.Fatal("the store has not grown")
	return 0
}

// TestGrow: a store that has become large goes on with larger buffers, and has every row.
func TestGrow(t *testing.T) {
	d := newDisk()
	engine, err := openFiles(d, growing())
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	grown := historyUntilGrown(t, engine, d)
	writeHistory(t, engine, grown+1, grown+40)
	if n, err := readHistory(engine); err != nil || n != grown+40 {
		t.Fatalf("at batch %d: %v", n, err)
	}
	if n, intact := d.open(t, "killed after it has grown"); !intact || n != grown+40 {
		t.Fatalf("at batch %d, intact %v", n, intact)
	}
	if size, err := engine.Size("a"); err != nil || size < 40_000 {
		t.Errorf("store a has %d bytes: %v", size, err)
	}
}

// TestGrowWaitsForWalks: rows that are being walked do not end because the store grows.
func TestGrowWaitsForWalks(t *testing.T) {
	d := newDisk()
	engine, err := openFiles(d, growing())
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	writeHistory(t, engine, 1, 1)
	rows := engine.Range("a", nil, nil, false)
	writeHistory(t, engine, 2, 50)
	if engine.options.WriteBuffer == largeWriteBuffer {
		t.Fatal("the store has grown under a walk")
	}
	if !rows.Next() || string(rows.Value()) != "value of batch 1" {
		t.Fatalf("the walk has ended: %v", rows.Err())
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	writeHistory(t, engine, 51, 51)
	if engine.options.WriteBuffer != largeWriteBuffer {
		t.Fatal("the store has not grown after the walk")
	}
	if n, err := readHistory(engine); err != nil || n != 51 {
		t.Fatalf("at batch %d: %v", n, err)
	}
}

// TestGrowOnFullDisk fills the disk at every moment around the growth: nothing that was confirmed is lost.
func TestGrowOnFullDisk(t *testing.T) {
	rehearsal := newDisk()
	engine, err := openFiles(rehearsal, growing())
	if err != nil {
		t.Fatal(err)
	}
	grown := historyUntilGrown(t, engine, rehearsal)
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for room := 0; room < 50_000; room += 1 + room/8 {
		d := newDisk()
		engine, err := openFiles(d, growing())
		if err != nil {
			t.Fatal(err)
		}
		writeHistory(t, engine, 1, grown-1)
		d.limit(room)
		batch := NewBatch()
		confirmed := grown - 1
		for err == nil && confirmed < grown+5 {
			historyBatch(batch, confirmed+1)
			if err = engine.Apply(batch); err == nil {
				confirmed++
			}
		}
		if err != nil {
			if failed++; !errors.Is(err, ErrDiskFull) {
				t.Fatalf("room for %d bytes: %v, want ErrDiskFull", room, err)
			}
			batch.Reset()
			batch.Put("a", []byte("key"), nil)
			if err := engine.Apply(batch); !errors.Is(err, ErrDiskFull) {
				t.Fatalf("room for %d bytes: Apply after the failed one: %v", room, err)
			}
		}
		if err := engine.Close(); err != nil && !errors.Is(err, ErrDiskFull) {
			t.Fatalf("room for %d bytes: Close: %v", room, err)
		}
		if n, intact := d.open(t, fmt.Sprintf("room for %d bytes", room)); !intact || n < confirmed || n > confirmed+1 {
			t.Fatalf("room for %d bytes: at batch %d, intact %v; %d batches were confirmed", room, n, intact, confirmed)
		}
	}
	if failed == 0 {
		t.Error("the disk was never full")
	}
}

// TestLargeStoreIsOpenedLarge: the size on the disk decides at opening.
func TestLargeStoreIsOpenedLarge(t *testing.T) {
	dir := t.TempDir()
	options := historyOptions
	options.largeStore = 1 << 40
	for _, large := range []bool{false, true} {
		if large {
			options.largeStore = 1
		}
		opened, err := OpenLevelDB(dir, options)
		if err != nil {
			t.Fatal(err)
		}
		engine := opened.(*levelDB)
		if got := engine.options.WriteBuffer == largeWriteBuffer; got != large {
			t.Errorf("large %v: a write buffer of %d bytes", large, engine.options.WriteBuffer)
		}
		if !large {
			writeHistory(t, engine, 1, 20)
		}
		if n, err := readHistory(engine); err != nil || n != 20 {
			t.Errorf("large %v: at batch %d: %v", large, n, err)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// buffer is a filter.Buffer.
type buffer struct{ bytes.Buffer }

// Alloc implements filter.Buffer.
func (b *buffer) Alloc(n int) []byte {
	b.Write(make([]byte, n))
	return b.Bytes()[b.Len()-n:]
}

// TestBloom: no key is missed, and as few others are found as with LevelDB's own filter.
func TestBloom(t *testing.T) {
	for _, own := range []filter.Filter{bloom(DefaultBloomBits), filter.NewBloomFilter(DefaultBloomBits)} {
		const keys = 10_000
		generator := own.NewGenerator()
		for n := range keys {
			generator.Add(fmt.Appendf(nil, "key %d", n))
		}
		var bits buffer
		generator.Generate(&bits)
		wrong := 0
		for n := range 2 * keys {
			found := own.Contains(bits.Bytes(), fmt.Appendf(nil, "key %d", n))
			if n < keys && !found {
				t.Fatalf("%s: key %d is missed", own.Name(), n)
			}
			if n >= keys && found {
				wrong++
			}
		}
		if wrong > keys/50 {
			t.Errorf("%s: %d of %d keys that are not there are found", own.Name(), wrong, keys)
		}
	}
}

// TestFilesOfEarlierFilters: files written with LevelDB's own filter are read, and so are new ones without ours.
func TestFilesOfEarlierFilters(t *testing.T) {
	ours := historyOptions.leveldb()
	ours.Filter, ours.AltFilters = bloom(DefaultBloomBits), []filter.Filter{filter.NewBloomFilter(DefaultBloomBits)}
	theirs := historyOptions.leveldb()
	theirs.Filter = filter.NewBloomFilter(DefaultBloomBits)
	d := newDisk()
	for round, options := range []*opt.Options{theirs, ours, theirs} {
		db, err := leveldb.Open(d, options)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 1000 * (round + 1) {
			key := fmt.Appendf(nil, "key %d", n)
			if n < 1000*round {
				if value, err := db.Get(key, nil); err != nil || len(value) != 100 {
					t.Fatalf("round %d: key %d: %v", round, n, err)
				}
			} else if err := db.Put(key, make([]byte, 100), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
