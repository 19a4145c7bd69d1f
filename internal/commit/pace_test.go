package commit

import (
	"testing"
	"time"
)

// TestPace: an idle session commits at once; under load the batches grow, up to the maximum.
func TestPace(t *testing.T) {
	p, now := pacer{max: 50 * time.Millisecond}, time.UnixMilli(1_000_000)
	if d := p.delay(now); d > 0 {
		t.Errorf("the first commit waits %s", d)
	}
	for _, c := range []struct {
		records int
		after   time.Duration // since the last seal
		want    time.Duration
	}{
		{records: 1, after: time.Millisecond, want: 0},
		{records: 1000, after: 0, want: 10 * time.Millisecond},
		{records: 1000, after: 4 * time.Millisecond, want: 6 * time.Millisecond},
		{records: 1000, after: 10 * time.Millisecond, want: 0},
		{records: 2000, after: 0, want: 20 * time.Millisecond},
		{records: 1_000_000, after: 0, want: 50 * time.Millisecond},
	} {
		p.sealed(now, c.records)
		if got := max(p.delay(now.Add(c.after)), 0); got != c.want {
			t.Errorf("%s after a batch of %d the next one waits %s, want %s", c.after, c.records, got, c.want)
		}
	}
}
