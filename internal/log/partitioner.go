package log

import (
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitioner sends a record to the partition chosen for it, or else to that of
// its key by Java's rule, or, without a key, to each partition in turn for a
// while, so that batches fill.
//
// A chosen partition is marked in the record's Partition field by a negative
// number, because a record that nobody chose for has 0 there.
type partitioner struct{}

// chosen marks a partition as chosen; applied again it gives the partition.
func chosen(partition int32) int32 { return -1 - partition }

// turn is how many records without a key go to a partition before the next one
// has its turn.
const turn = 100

func (partitioner) ForTopic(string) kgo.TopicPartitioner { return new(topicPartitioner) }

// topicPartitioner has no OnNewBatch: with it, franz-go would ask twice, the
// second time with the mark gone.
type topicPartitioner struct {
	keyless int // how many records without a key there were; guarded by franz-go
}

func (p *topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition < 0 || r.Key != nil
}

func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	switch {
	case r.Partition < 0:
		return int(chosen(r.Partition)) // out of range is refused by the client
	case r.Key != nil:
		return int(partition.ForKey(r.Key, int32(n)))
	}
	p.keyless++
	return p.keyless / turn % n
}
