package bridge

import (
	"bytes"
	"context"

	"github.com/tidemill/tidemill/internal/store"
)

// Within returns the one partition that can have rows with from <= key < to, as it has where all such keys have the same
// partition part (codecs.Partitioner); ok is false if there may be several, or the number of partitions is not known.
func (v *View) Within(from, to []byte) (number int32, ok bool) {
	partitioner := v.config.Partitioner
	if partitioner == nil || v.Partitions() == 0 {
		return 0, false
	}
	length, whole := partitioner.PartitionPart(from)
	if !whole {
		return 0, false
	}
	if end := store.PrefixEnd(from[:length]); end != nil && (to == nil || bytes.Compare(to, end) > 0) {
		return 0, false
	}
	return v.PartitionOf(from[:length]), true
}

// ScanWithin is Scan on the one partition that can have rows with from <= key < to, and on all where there may be several.
// It returns the partitions, in the order of the scan's positions; nil means all of them.
func (v *View) ScanWithin(ctx context.Context, from, to []byte, descending bool) (*ViewScan, []int32, error) {
	number, ok := v.Within(from, to)
	if !ok {
		scan, err := v.Scan(ctx, from, to, descending)
		return scan, nil, err
	}
	numbers := []int32{number}
	scan, err := v.ScanOf(ctx, numbers, from, to, descending)
	return scan, numbers, err
}
