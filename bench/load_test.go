package main

import (
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
)

// Every command of a load is one of its own, or what repeats one is dropped as a duplicate and costs next to nothing.
func TestLoads(t *testing.T) {
	const keys, n = 50, 1000
	for name, record := range map[string]func(i int) (key, value []byte){
		"throughput": func(i int) ([]byte, []byte) { r := command(i, keys); return r.Key, r.Value },
		"growth":     func(i int) ([]byte, []byte) { r := growth{keys: keys}.record(i); return r.Key, r.Value },
	} {
		t.Run(name, func(t *testing.T) {
			ids, created, updated := map[string]bool{}, map[string]bool{}, map[string]bool{}
			for i := range n {
				key, value := record(i)
				c, err := calculator.Commands.Value().Decode(value)
				if err != nil {
					t.Fatalf("command %d: %v: %s", i, err, value)
				}
				switch {
				case ids[c.ID]:
					t.Fatalf("command %d has the id of an earlier one", i)
				case c.Data.ValueID != string(key):
					t.Fatalf("command %d on %s has key %s", i, c.Data.ValueID, key)
				case created[string(key)] == (c.Action == "CreateValue"):
					t.Fatalf("command %d: %s of value %s, created before: %v", i, c.Action, key, created[string(key)])
				}
				ids[c.ID], created[string(key)] = true, true
				if c.Action == "UpdateValue" {
					updated[string(key)] = true
				}
				if got := valueIndex(key); valueID(got) != string(key) {
					t.Fatalf("value %s has number %d", key, got)
				}
			}
			if len(created) != keys || len(updated) != keys {
				t.Errorf("%d values are created and %d updated, want %d", len(created), len(updated), keys)
			}
		})
	}
}
