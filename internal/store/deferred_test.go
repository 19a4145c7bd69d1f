package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// held is a base that writes only what it is allowed to.
type held struct {
	Engine
	allowed chan error // what the next write answers; nil for going ahead
}

func (h *held) Apply(batch *Batch) error {
	if err := <-h.allowed; err != nil {
		return err
	}
	return h.Engine.Apply(batch)
}

// TestDeferredReads finds what waits, the newest of each row, and the base's rows below it.
func TestDeferredReads(t *testing.T) {
	base := &held{Engine: NewMemory(), allowed: make(chan error, 1000)}
	engine := WithDeferral(base)
	base.allowed <- nil
	applyRows(t, engine, 1, "old", "a", "b", "c") // nothing is deferred yet
	Defer(engine, 1<<20)
	applyRows(t, engine, 2, "new", "b", "d")
	batch := NewBatch()
	batch.Delete("rows", []byte("c"))
	batch.Put("rows", []byte("d"), []byte("newest"))
	batch.Put("other", []byte("a"), []byte("elsewhere"))
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "old", "b": "new", "d": "newest"}
	check := func(when string) {
		t.Helper()
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			value, found, err := engine.Get("rows", []byte(key))
			if err != nil || string(value) != want[key] || found != (want[key] != "") {
				t.Errorf("%s: row %s = %q, %t (%v), want %q", when, key, value, found, err, want[key])
			}
		}
		if value, _, _ := engine.Get("other", []byte("a")); string(value) != "elsewhere" {
			t.Errorf("%s: the row of the other store is %q", when, value)
		}
	}
	check("waiting")
	if _, found, _ := base.Engine.Get("rows", []byte("d")); found {
		t.Error("the base has it already")
	}
	if at, _ := engine.Checkpoint(historyChangelog); at.Offset != 2 {
		t.Errorf("the checkpoint is at %d, want 2", at.Offset)
	}
	if at, _ := base.Checkpoint(historyChangelog); at.Offset != 1 {
		t.Errorf("the base's checkpoint is at %d, want 1", at.Offset)
	}
	base.allowed <- nil
	base.allowed <- nil
	Defer(engine, 0)
	rows := 0
	for all := engine.Range("rows", nil, nil, false); all.Next(); rows++ {
	}
	if rows != len(want) {
		t.Errorf("Range has %d rows, want %d", rows, len(want))
	}
	check("written")
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
}

func applyRows(t *testing.T, engine Engine, offset int64, value string, keys ...string) {
	t.Helper()
	batch := NewBatch()
	for _, key := range keys {
		batch.Put("rows", []byte(key), []byte(value))
	}
	batch.SetCheckpoint(Checkpoint{Changelog: historyChangelog, Offset: offset, Sequence: uint64(offset)})
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
}

// TestDeferredFailure: a batch that could not be written ends the writing, rows stay as they were applied, and the base is at
// the batch before.
func TestDeferredFailure(t *testing.T) {
	base := &held{Engine: NewMemory(), allowed: make(chan error, 1000)}
	engine := WithDeferral(base)
	Defer(engine, 1<<20)
	for n := range int64(3) {
		applyRows(t, engine, n+1, fmt.Sprint(n), "a")
	}
	base.allowed <- nil
	base.allowed <- ErrDiskFull
	Defer(engine, 0)
	if err := engine.Range("rows", nil, nil, false).Close(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Range: %v, want ErrDiskFull", err)
	}
	if err := engine.Apply(NewBatch()); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Apply: %v, want ErrDiskFull", err)
	}
	if value, _, err := engine.Get("rows", []byte("a")); string(value) != "2" || err != nil {
		t.Errorf("the row is %q (%v), want 2", value, err)
	}
	if at, _ := base.Checkpoint(historyChangelog); at.Offset != 1 {
		t.Errorf("the base is at %d, want 1", at.Offset)
	}
	if err := engine.Close(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Close: %v, want ErrDiskFull", err)
	}
}

// TestDeferredBound: Apply waits when more waits than may.
func TestDeferredBound(t *testing.T) {
	base := &held{Engine: NewMemory(), allowed: make(chan error)}
	engine := WithDeferral(base)
	Defer(engine, 2*minDeferred)
	applied := make(chan int, 100)
	go func() {
		defer close(applied)
		batch := NewBatch()
		for n := range 10 {
			batch.Reset()
			batch.Put("rows", fmt.Append(nil, n), make([]byte, minDeferred*3/5))
			if engine.Apply(batch) != nil {
				return
			}
			applied <- n
		}
	}()
	for range 3 {
		<-applied
	}
	select {
	case n := <-applied:
		t.Errorf("batch %d was applied with three waiting, which is as much as may", n)
	case <-time.After(20 * time.Millisecond):
	}
	Defer(engine, 0) // the fourth may wait beside the three, while those are written down
	if n := <-applied; n != 3 {
		t.Errorf("batch %d was applied, want 3", n)
	}
	go func() {
		for range 10 {
			base.allowed <- nil
		}
	}()
	for range applied {
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if size, _ := base.Size("rows"); size != 0 {
		t.Errorf("closed, it has %d bytes", size)
	}
}

// TestDeferredCrash kills the process at any moment of histories that are deferred now and then: what is on the disk is the
// state after some batch, with its checkpoint, and no batch is missing that was applied without deferral.
func TestDeferredCrash(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 40 {
		live := newDisk()
		base, err := openFiles(live, historyOptions)
		if err != nil {
			t.Fatal(err)
		}
		engine := WithDeferral(base)
		written := 0
		for n := 1; n <= 60; n++ {
			switch random.IntN(8) {
			case 0:
				Defer(engine, 1+random.IntN(100_000))
			case 1:
				Defer(engine, 0)
				if random.IntN(2) == 0 {
					if err := engine.Range("a", nil, nil, false).Close(); err != nil {
						t.Fatal(err)
					}
					written = n - 1
				}
			}
			writeHistory(t, engine, n, n)
			if random.IntN(10) == 0 {
				if at, intact := live.crash().open(t, "killed"); !intact || at < written || at > n {
					t.Fatalf("seed %d, round %d: killed after batch %d: at %d, intact %t; %d were written", seed, round, n, at, intact, written)
				}
			}
			if random.IntN(10) == 0 {
				if at, err := readHistory(engine); err != nil || at != n {
					t.Fatalf("seed %d, round %d: after batch %d it is at %d: %v", seed, round, n, at, err)
				}
			}
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
		if at, intact := live.crash().open(t, "closed"); !intact || at != 60 {
			t.Fatalf("seed %d, round %d: closed at batch %d, intact %t, want 60", seed, round, at, intact)
		}
	}
}

// TestDeferredIndex grows the index over more rows than are ever in the queue, with some overwritten.
func TestDeferredIndex(t *testing.T) {
	base := NewMemory()
	engine := WithDeferral(base)
	Defer(engine, 1<<20)
	batch := NewBatch()
	const rounds, perRound = 60, 2000
	for round := range rounds {
		batch.Reset()
		for i := range perRound {
			batch.Put("rows", fmt.Append(nil, round*perRound/2+i), fmt.Append(nil, round))
		}
		if err := engine.Apply(batch); err != nil {
			t.Fatal(err)
		}
	}
	for key := range (rounds + 1) * perRound / 2 {
		want := fmt.Sprint(min(key/(perRound/2), rounds-1))
		if value, found, err := engine.Get("rows", fmt.Append(nil, key)); !found || err != nil || string(value) != want {
			t.Fatalf("row %d = %q, %t (%v), want %s", key, value, found, err, want)
		}
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
}
