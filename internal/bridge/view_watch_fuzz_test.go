package bridge

import (
	"errors"
	"testing"
)

// FuzzWatchPosition: whatever a client sends as the position to go on from, it is taken or refused with ErrViewPosition, and
// holds no negative place.
func FuzzWatchPosition(f *testing.F) {
	w := &ViewWatch{placed: true, topic: 7, positions: []int64{0, 5, 1 << 40}}
	f.Add(string(w.AppendPosition(nil)))
	f.Add(viewSnapshotID)
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		resume, err := w.parse(text)
		if err != nil {
			if !errors.Is(err, ErrViewPosition) {
				t.Errorf("%v is not ErrViewPosition", err)
			}
			return
		}
		if resume == nil {
			if text != "" {
				t.Errorf("%q is none", text)
			}
			return
		}
		if !resume.vague && len(resume.positions) == 0 {
			t.Errorf("%q has no positions", text)
		}
		for _, position := range resume.positions {
			if position < 0 {
				t.Errorf("%q has the position %d", text, position)
			}
		}
	})
}
