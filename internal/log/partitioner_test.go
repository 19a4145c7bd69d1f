package log

import (
	"testing"

	"github.com/tidemill/tidemill/internal/partition"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestPartitioner(t *testing.T) {
	p := partitioner{}.ForTopic("t")
	for i := range int32(5) {
		r := &kgo.Record{Key: []byte("k"), Partition: chosen(i)}
		if got := p.Partition(r, 5); got != int(i) || !p.RequiresConsistency(r) {
			t.Errorf("chosen %d, got %d", i, got)
		}
	}
	for _, key := range []string{"", "a", "foobar", "värde"} {
		r := &kgo.Record{Key: []byte(key)}
		if got := p.Partition(r, 7); got != int(partition.ForKey([]byte(key), 7)) || !p.RequiresConsistency(r) {
			t.Errorf("key %q went to %d", key, got)
		}
	}
	got := map[int]int{}
	for range 3 * turn {
		r := &kgo.Record{}
		if p.RequiresConsistency(r) {
			t.Fatal("a record without a key need not wait for a partition without a leader")
		}
		got[p.Partition(r, 3)]++
	}
	for part, n := range got {
		if n < turn-1 || n > turn+1 {
			t.Errorf("partition %d had %d records without a key, want about %d", part, n, turn)
		}
	}
	if len(got) != 3 {
		t.Errorf("records without a key went to %d partitions of 3", len(got))
	}
}
