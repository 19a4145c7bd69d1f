package commit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/internal/meta"
)

// First commits where the tasks begin that the group has no offset of: from then on an offset that is missing has been lost,
// and a changelog with records tells so. It is a transaction of its own, without records: a plain commit that reaches the
// broker late, after its answer was given up, would set the group back to the beginning, while a transaction's is fenced.
// After an error the producer must recover.
func First(ctx context.Context, producer Producer, member Member, first map[Place]int64) error {
	if len(first) == 0 {
		return nil
	}
	places := slices.SortedFunc(maps.Keys(first), func(a, b Place) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return int(a.Partition) - int(b.Partition)
	})
	var offsets []Offset
	for _, place := range places {
		offsets = append(offsets, Offset{Topic: place.Topic, Partition: place.Partition, Offset: first[place], Metadata: meta.Offset{}.String()})
	}
	if err := producer.Begin(ctx); err != nil {
		return fmt.Errorf("beginning the first transaction: %w", err)
	}
	switch outcome, err := producer.Commit(ctx, member, offsets); outcome {
	case Committed:
		return nil
	case Unknown:
		return fmt.Errorf("committing where the tasks begin: %w", errors.Join(errNoAnswer, err))
	default:
		return fmt.Errorf("committing where the tasks begin: %w", errors.Join(ErrAborted, err))
	}
}
