package bridge

import (
	"context"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
)

// changelogs implements restore.Source.
type changelogs struct {
	processor *Processor
	offsets   groupOffsets
	member    commit.Member
}

// Current implements restore.Source.
func (r changelogs) Current(ctx context.Context) error { return r.offsets.Current(ctx, r.member) }

// Bounds implements restore.Source.
func (r changelogs) Bounds(ctx context.Context, topics []string) (starts, ends map[commit.Place]int64, err error) {
	first, err := r.processor.admin.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	last, err := r.processor.admin.EndOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	return places(first), places(last), nil
}

func places(offsets log.Offsets) map[commit.Place]int64 {
	found := map[commit.Place]int64{}
	for topic, partitions := range offsets {
		for number, offset := range partitions {
			found[commit.Place{Topic: topic, Partition: number}] = offset
		}
	}
	return found
}
