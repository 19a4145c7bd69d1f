// Package commit is the commit protocol: how what the tasks of one instance did becomes, in one transaction, records in the
// log, committed input offsets and rows on the disk, or none of it.
//
// A Session is one generation of the consumer group. Tasks step in parallel while a gate is open; one committing goroutine
// closes the gate for an instant, seals every task's upper layer, and commits the sealed layers while the tasks already work
// on the next transaction. The transactions of an instance follow one another: nothing of transaction n+1 is sent until the
// outcome of n is known (rule 3), and what n+1 has seen of n is dropped with it if n aborts (rule 6).
//
// The package knows neither Kafka's clients nor goka: Producer and Offsets are its two seams, which package bridge fills for
// production.
package commit

import (
	"context"
	"errors"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
)

// The errors of this package, besides those of the seams, which come wrapped.
var (
	// ErrAborted says that a transaction did not happen: its input must be stepped again in a new session.
	ErrAborted = errors.New("the transaction was aborted")
	// ErrFenced says that this instance is no longer the owner: its group generation or its transactional id is another's.
	// It must rejoin with clean state.
	ErrFenced = errors.New("another instance has taken over")
	// ErrInstanceFenced says that another process runs under the same instance id. It is fatal: rejoining would fence that one.
	ErrInstanceFenced = errors.New("another process uses the same instance id")
	// ErrClosed says that the session has ended.
	ErrClosed = errors.New("the session has ended")
	// ErrTorn says that a transaction reached some of its partitions only, which no broker may let happen. The next session
	// puts it right for our part: it begins each task where its own offset says.
	ErrTorn = errors.New("the transaction is committed for some tasks and not for others")
)

// Member is this instance in one generation of its consumer group (KIP-447).
type Member struct {
	Group      string
	ID         string
	InstanceID string // empty without static membership (KIP-345)
	Generation int32
}

// Offset is an input offset to commit.
type Offset struct {
	Topic     string
	Partition int32
	Offset    int64 // next to read
	Metadata  string
}

// Outcome is what became of a transaction.
type Outcome int

// The outcomes.
const (
	// Unknown: the reply was lost. Ask the group's offsets (rule 4).
	Unknown Outcome = iota
	// Committed: all of it has happened.
	Committed
	// Aborted: nothing of it ever will.
	Aborted
)

// Producer writes one transaction after another. A session has one, or two that take turns. Only the committing goroutine
// calls it; done functions run on a goroutine of the producer, one at a time, and before Commit returns.
type Producer interface {
	Begin(ctx context.Context) error
	// Send queues a record. done gets the offset it was written at.
	Send(output *graph.Output, done func(offset int64))
	// Commit flushes the records, commits the offsets with them and ends the transaction. The error says why the outcome is
	// not Committed; it wraps ErrFenced or ErrInstanceFenced where that is why.
	Commit(ctx context.Context, member Member, offsets []Offset) (Outcome, error)
	// Recover ends whatever transaction may be open under the producer's id, whether this process began it or another.
	Recover(ctx context.Context) error
}

// Offsets reads back what a group has committed.
type Offsets interface {
	// Committed returns the stable committed offsets of the partitions of the topics: transactions that are ending have
	// ended (KIP-447's RequireStable). Partitions without one are absent.
	Committed(ctx context.Context, group string, topics []string) (map[Place]StoredOffset, error)
	// Current returns nil if the group is still in the member's generation and knows the member, so that nobody else can
	// have committed for its partitions; else an error that wraps ErrFenced or ErrInstanceFenced.
	Current(ctx context.Context, member Member) error
}

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

// StoredOffset is a committed offset with its metadata read.
type StoredOffset struct {
	Next int64 // the offset to read next
	Meta meta.Offset
	// Foreign says that the metadata is not ours: another tool has set the offset.
	Foreign bool
}

// Observer is told what the session does; it must not block. Package bridge turns it into metrics.
type Observer interface {
	// TransactionCommitted reports a commit: input records, bytes written into layers, and how long it took from its seal.
	TransactionCommitted(records int, bytes int, took time.Duration)
	// TransactionFailed reports why a session has failed: its last transaction did not happen.
	TransactionFailed(err error)
}
