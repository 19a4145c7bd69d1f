package topology

import (
	"fmt"
	"testing"
)

func TestIDFilterForgetsNothingAndRarelyErrs(t *testing.T) {
	var f idFilter
	const n = 200_000
	for i := range n {
		f.add(fmt.Appendf(nil, "id-%d", i))
	}
	for i := range n {
		if !f.has(fmt.Appendf(nil, "id-%d", i)) {
			t.Fatalf("id-%d was added and is not there", i)
		}
	}
	wrong := 0
	for i := range n {
		if f.has(fmt.Appendf(nil, "other-%d", i)) {
			wrong++
		}
	}
	if share := float64(wrong) / n; share > 0.08 {
		t.Errorf("%.1f %% false positives over all layers", 100*share)
	}
}
