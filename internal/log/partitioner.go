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
// number, because a record that nobody chose for has 0 there. A positive one is
// the hash of the key that decides instead of the record's own.
type partitioner struct{}

// Partitioner returns the partitioner of this package's producers, for a client
// made elsewhere: Java's rule, SetPartition and SetPartitionKey.
func Partitioner() kgo.Partitioner { return partitioner{} }

// chosen marks a partition as chosen; applied again it gives the partition.
func chosen(partition int32) int32 { return -1 - partition }

// hashed marks the key that decides. The hash 0 is on partition 0 of any number.
func hashed(key []byte) int32 {
	if hash := partition.Hash(key); hash > 0 {
		return hash
	}
	return chosen(0)
}

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
	return r.Partition != 0 || r.Key != nil
}

func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	switch {
	case r.Partition < 0:
		return int(chosen(r.Partition)) // out of range is refused by the client
	case r.Partition > 0:
		return int(r.Partition) % n
	case r.Key != nil:
		return int(partition.ForKey(r.Key, int32(n)))
	}
	p.keyless++
	return p.keyless / turn % n
}
