package house_test

import (
	"path/filepath"
	"testing"

	"github.com/tidemill/tidemill/internal/house"
)

// TestHouse applies the rules to this module.
func TestHouse(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	files, err := house.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("%d files read at %s: that is not the whole module", len(files), root)
	}
	for _, violation := range house.Check(files) {
		t.Error(violation)
	}
}
