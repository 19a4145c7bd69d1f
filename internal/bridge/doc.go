// Package bridge is the shell round the pure parts: it runs a sub-topology's tasks as a goka processor, and a table's
// changelog as a goka view, over Kafka. It is the only importer of goka and sarama.
//
// goka gives the life of a processor: the consumer group, one goroutine for each partition, start and stop. Everything that
// decides whether a record counts once lies in its seams (docs/adr/0002): the consumer group is wrapped, so that offsets
// are committed by package commit and a rebalance does not cost goka's five seconds; what goka's callback gets is a batch
// of records of one partition; goka's table, producer and topic manager have nothing left to do.
package bridge

import (
	"errors"

	"github.com/tidemill/tidemill/internal/restore"
)

// The errors of this package. They end a processor; each is wrapped with the fix.
var (
	// ErrNoCommittedOffset says that a changelog has records but its group has no committed offset: the group has expired or
	// was deleted. Starting from the beginning would apply every command again.
	ErrNoCommittedOffset = restore.ErrNoCommittedOffset
	// ErrForeignOffset says that another tool has set the group's offsets while the changelog has records.
	ErrForeignOffset = restore.ErrForeignOffset
	// ErrOffsetOutOfRange says that records were deleted before they were processed, or the topic was made anew.
	ErrOffsetOutOfRange = restore.ErrOffsetOutOfRange
	// ErrTopicRecreated says that a topic is another than the one that offsets and state follow from.
	ErrTopicRecreated = restore.ErrTopicRecreated
	// ErrInstanceInUse says that another process runs under the same instance id.
	ErrInstanceInUse = errors.New("another process runs under this instance id")
)
