package store_test

import (
	"fmt"
	"os"

	"github.com/tidemill/tidemill/internal/store"
)

// Rows and the changelog offset they stand at go into one batch; a prefix range reads them back in order.
func ExampleOpenLevelDB() {
	parent, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(parent)
	engine, err := store.OpenLevelDB(parent+"/ordering-3", store.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()

	batch := store.NewBatch()
	batch.Put("orders", []byte("ann/2"), []byte("tea"))
	batch.Put("orders", []byte("ann/1"), []byte("bread"))
	batch.Put("orders", []byte("bob/1"), []byte("milk"))
	batch.SetCheckpoint(store.Checkpoint{Changelog: "ordering-orders-changelog", Partition: 3, Offset: 42})
	if err := engine.Apply(batch); err != nil {
		fmt.Println(err)
		return
	}

	prefix := []byte("ann/")
	rows := engine.Range("orders", prefix, store.PrefixEnd(prefix), false)
	defer rows.Close()
	for rows.Next() {
		fmt.Printf("%s: %s\n", rows.Key(), rows.Value())
	}
	if err := rows.Err(); err != nil {
		fmt.Println(err)
	}
	checkpoint, _ := engine.Checkpoint("ordering-orders-changelog")
	fmt.Println("read on from offset", checkpoint.Offset)
	// Output:
	// ann/1: bread
	// ann/2: tea
	// read on from offset 42
}
