package bridge

import (
	"testing"
	"time"
)

// Under load a copy is never level with an end that was asked for a moment ago; what was asked for counts once it gets there.
func TestFreshUnderLoad(t *testing.T) {
	v := &View{}
	p := newViewPartition(v, 0, 1, "")
	p.ready.Store(true)
	v.partitions.Store(&[]*viewPartition{p})
	began := time.Now()
	for step, c := range []struct {
		ended    int64 // an end that is found now; 0 for none
		position int64
		fresh    int // the step as of which the copy is fresh then; -1 for none
	}{
		{10, 9, -1},
		{20, 12, 0}, // the first end is reached first
		{25, 22, 0},
		{0, 25, 2},
		{30, 30, 4},
		{30, 30, 5}, // level at once
	} {
		if c.ended > 0 {
			p.freshenAt(viewEnd{end: c.ended, asked: began.Add(time.Duration(step) * time.Second)})
		}
		p.advance(c.position)
		want := began.Add(time.Duration(c.fresh) * time.Second)
		if c.fresh < 0 {
			want = time.Time{}
		}
		if got := v.FreshAt(0); !got.Equal(want) {
			t.Errorf("step %d: fresh as of step %v, want %d", step, got.Sub(began).Seconds(), c.fresh)
		}
	}
}
