package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

// inBackground runs read in a number of goroutines until stop is called, and stop waits for them.
func inBackground(readers int, read func() error) (stop func() error) {
	done := make(chan struct{})
	failures := make(chan error, readers)
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := read(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	return func() error {
		close(done)
		group.Wait()
		close(failures)
		return <-failures
	}
}

// wholeBatches: every batch sets all rows of two stores to its own number, and no reader sees two numbers.
func wholeBatches(t *testing.T, engine store.Engine) {
	const rowsOfStore = 50
	stop := inBackground(3, func() error {
		for _, name := range []string{"a", "b"} {
			rows := engine.Range(name, nil, nil, name == "b")
			seen, count := "", 0
			for rows.Next() {
				if count++; seen == "" {
					seen = string(rows.Value())
				}
				if string(rows.Value()) != seen {
					return fmt.Errorf("store %s has rows of batch %s and of batch %s", name, seen, rows.Value())
				}
			}
			if err := rows.Close(); err != nil {
				return err
			}
			if count != 0 && count != rowsOfStore {
				return fmt.Errorf("store %s has %d rows, a batch has %d", name, count, rowsOfStore)
			}
		}
		return nil
	})
	for number := range 200 {
		apply(t, engine, func(batch *store.Batch) {
			for i := range rowsOfStore {
				batch.Put("a", fmt.Appendf(nil, "%03d", i), fmt.Append(nil, number))
				batch.Put("b", fmt.Appendf(nil, "%03d", i), fmt.Append(nil, number))
			}
		})
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// readersBesideWriter: a checkpoint is never ahead of the rows a later read finds; the rest is for the race detector.
func readersBesideWriter(t *testing.T, engine store.Engine) {
	stop := inBackground(3, func() error {
		checkpoint, found := engine.Checkpoint("c")
		value, _, err := engine.Get("numbers", []byte("last"))
		if err != nil {
			return err
		}
		var number int64
		if _, err := fmt.Sscan(string(value), &number); found && (err != nil || number < checkpoint.Offset) {
			return fmt.Errorf("the checkpoint is at %d, the row read after it at %q", checkpoint.Offset, value)
		}
		if _, err := engine.Size("numbers"); err != nil {
			return err
		}
		_ = engine.Checkpoints()
		rows := engine.Range("numbers", []byte("a"), nil, true)
		rows.Next()
		return rows.Close()
	})
	for number := range 600 {
		apply(t, engine, func(batch *store.Batch) {
			batch.Put("numbers", []byte("last"), fmt.Append(nil, number))
			batch.Put(fmt.Sprint("store ", number%20), fmt.Append(nil, number), make([]byte, 1000))
			batch.SetCheckpoint(checkpointOf("c", int64(number)))
		})
		if number%200 == 199 {
			if err := engine.DeleteStore("store 7", "none"); err != nil {
				t.Errorf("DeleteStore: %v", err)
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
