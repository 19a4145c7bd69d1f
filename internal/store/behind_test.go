package store

import (
	"errors"
	"fmt"
	"testing"
)

// openBehindOn opens an engine with a write-behind buffer on a disk.
func openBehindOn(t *testing.T, d *disk, limit int) Engine {
	t.Helper()
	below, err := openFiles(d, historyOptions)
	if err != nil {
		t.Fatal(err)
	}
	return newWriteBehind(below, limit)
}

// TestWriteBehindCrash crashes after every batch: the engine shows all batches, the disk holds those of a moment not
// too long ago, rows and checkpoint alike.
func TestWriteBehindCrash(t *testing.T) {
	const history = 100
	live := newDisk()
	engine := openBehindOn(t, live, 2000)
	last, behind := 0, 0
	for n := 1; n <= history; n++ {
		writeHistory(t, engine, n, n)
		crashed, intact := live.open(t, "a crash")
		if !intact || crashed < last || crashed > n {
			t.Fatalf("after batch %d, which followed one at %d: at batch %d, intact %v", n, last, crashed, intact)
		}
		last, behind = crashed, max(behind, n-crashed)
	}
	if behind < 5 || behind > 50 {
		t.Errorf("the disk was up to %d batches behind: the buffer holds about 30", behind)
	}
	if n, err := readHistory(engine); n != history || err != nil {
		t.Errorf("the engine is at batch %d, %v", n, err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if n, intact := live.open(t, "closed"); !intact || n != history {
		t.Errorf("after Close the disk is at batch %d, intact %v", n, intact)
	}
}

// TestWriteBehindBounds overwrites one row for ever: the buffer never fills, and is written nevertheless.
func TestWriteBehindBounds(t *testing.T) {
	written := func(engine Engine) int64 {
		checkpoint, _ := engine.(*writeBehind).below.Checkpoint("c")
		return checkpoint.Offset
	}
	for name, c := range map[string]struct {
		puts    int
		millis  int64 // by which the clock goes on at each batch
		batches int64 // after which the buffer must have been written
	}{
		"by operations": {1000, 0, maxBehindOperations / 1000},
		"by time":       {1, 100, maxBehindMillis/100 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			engine := openBehindOn(t, newDisk(), 1<<20)
			batch := NewBatch()
			for n := int64(1); n <= c.batches; n++ {
				if at := written(engine); at != 0 {
					t.Fatalf("written at batch %d, want %d", at, c.batches)
				}
				batch.Reset()
				for range c.puts {
					batch.Put("values", []byte("hot"), fmt.Append(nil, n))
				}
				batch.SetCheckpoint(Checkpoint{Changelog: "c", Offset: n, WrittenAt: 1_795_000_000_000 + n*c.millis})
				if err := engine.Apply(batch); err != nil {
					t.Fatal(err)
				}
			}
			if at := written(engine); at != c.batches {
				t.Errorf("written at batch %d, want %d", at, c.batches)
			}
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestWriteBehindDiskFull: what cannot be written is reported, stays readable until the engine is closed, and the
// disk holds an earlier state.
func TestWriteBehindDiskFull(t *testing.T) {
	d := newDisk()
	engine := openBehindOn(t, d, 2000)
	d.limit(20_000)
	batch := NewBatch()
	n, err := 0, error(nil)
	for err == nil && n < 100 {
		n++
		historyBatch(batch, n)
		err = engine.Apply(batch)
	}
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("Apply: %v, want ErrDiskFull", err)
	}
	value := fmt.Sprintf("value of batch %d", n)
	if got, found, err := engine.Get("b", fmt.Append(nil, n)); err != nil || !found || string(got) != value {
		t.Errorf("a row that could not be written reads as %q, %v, %v", got, found, err)
	}
	d.limit(1 << 30)
	if err := engine.Apply(batch); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Apply after the failed one: %v, want ErrDiskFull", err)
	}
	if rows := engine.Range("b", nil, nil, false); rows.Next() || !errors.Is(rows.Close(), ErrDiskFull) {
		t.Error("a Range that cannot see all rows gives some")
	}
	if err := engine.Close(); err != nil && !errors.Is(err, ErrDiskFull) {
		t.Errorf("Close: %v", err)
	}
	if at, intact := d.open(t, "after the disk was full"); !intact || at > n {
		t.Errorf("the disk is at batch %d, intact %v, after batch %d failed", at, intact, n)
	}
}
