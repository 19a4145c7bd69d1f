// Package settle sees to it that a transaction ends as its coordinator says, on every partition that it has written to.
//
// A coordinator calls a transaction complete once its marker is on every partition. Kafka 4.3 leaves out the partitions that
// have no leader at that moment, as if their topics were deleted (KAFKA-20734): a broker that was fenced, if only for a
// moment, may keep records of an aborted or committed transaction undecided for ever, and a group's offsets too. The partition
// takes them for part of the producer's next transaction and does with them what becomes of that one. So what a coordinator
// says of a transaction is believed only where the partitions' leaders say the same, and what is left undecided is ended by a
// transaction that has nothing in it: the coordinator writes its marker to partitions that are added to it, records or not.
//
// The package decides and does nothing itself: no client, goroutine or clock. Brokers is its seam: requests of package log in
// production, simulated ones in package sim.
package settle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

var (
	// ErrFenced is returned where another producer has the transactional id, or its transaction is not open any more.
	ErrFenced = errors.New("producer fenced")
	// ErrUndecided says that a partition still holds something for undecided.
	ErrUndecided = errors.New("a transaction's marker is missing")
)

// Producer is an id's producer as the coordinator has named it.
type Producer struct {
	ID    int64
	Epoch int16
}

// Last is what a coordinator says of an id's last transaction.
type Last struct {
	// ProducerID is of the id's present producer.
	ProducerID int64
	// Committed says that it was committed and is complete. An id that was initialised since has none.
	Committed bool
	// Open says that it is not complete: not decided, or markers are on their way.
	Open bool
}

// Partitions are partitions, by topic.
type Partitions map[string]map[int32]struct{}

// Add adds one.
func (p Partitions) Add(topic string, partition int32) {
	if p[topic] == nil {
		p[topic] = make(map[int32]struct{})
	}
	p[topic][partition] = struct{}{}
}

// AddAll adds those of another set.
func (p Partitions) AddAll(other Partitions) {
	for topic, partitions := range other {
		for partition := range partitions {
			p.Add(topic, partition)
		}
	}
}

// Places are where a transaction may be open.
type Places struct {
	// Partitions hold records.
	Partitions Partitions
	// Group is the group in whose partition its offsets are, empty for none.
	Group string
}

func (p Places) none() bool { return len(p.Partitions) == 0 && p.Group == "" }

// String lists them.
func (p Places) String() string {
	var all []string
	for _, topic := range slices.Sorted(maps.Keys(p.Partitions)) {
		for _, partition := range slices.Sorted(maps.Keys(p.Partitions[topic])) {
			all = append(all, fmt.Sprintf("%s/%d", topic, partition))
		}
	}
	if p.Group != "" {
		all = append(all, "the offsets of "+p.Group)
	}
	return fmt.Sprint(all)
}

// Sent is what a transaction consisted of.
type Sent struct {
	// Last is the last offset in each partition of each topic.
	Last map[string]map[int32]int64
	// Group is the group whose offsets went with it, empty for none; Offsets are some of their partitions, one at least.
	Group   string
	Offsets Partitions
}

func (s Sent) places() Places {
	where := Places{Partitions: Partitions{}, Group: s.Group}
	for topic, partitions := range s.Last {
		for partition := range partitions {
			where.Partitions.Add(topic, partition)
		}
	}
	return where
}

// Brokers are asked, and told, on behalf of one transactional id. Each method returns within a time of its own, or when ctx
// ends; while a partition has no leader it waits for one. Errors wrap ErrFenced where that is what they mean.
type Brokers interface {
	// TakeOver makes the caller the only producer of the id, which aborts what is open, and returns that producer.
	TakeOver(ctx context.Context) (Producer, error)
	// Initialise does so for the producer that goes on.
	Initialise(ctx context.Context) error
	// Identity returns the producer that goes on.
	Identity(ctx context.Context) (Producer, error)
	// Last asks the coordinator for the id's last transaction: the zero value if it knows none, or cannot tell.
	Last(ctx context.Context) (Last, error)
	// Decided waits until no decision of the coordinator is on its way, and returns Last.
	Decided(ctx context.Context) (Last, error)
	// Existing returns the partitions of the topics that exist.
	Existing(ctx context.Context, topics []string) (Partitions, error)
	// Open asks the leaders on which of the places a producer has a transaction open. Where they do not tell, it has none.
	Open(ctx context.Context, producer int64, where Places) (Places, error)
	// Passed reports whether the last stable offsets are above those sent and the group's offsets stable, whosever
	// transaction it is that holds them.
	Passed(ctx context.Context, sent Sent) (bool, error)
	// Add adds places to the producer's transaction, beginning one if there is none, with nothing in it.
	Add(ctx context.Context, who Producer, where Places) error
	// End ends the producer's transaction in the way that leaves its epoch as it is. It is sent once.
	End(ctx context.Context, who Producer, commit bool) error
	// EndAgain asks again for a commit whose answer is missing, for a part of ctx's time: by End if plainly, else in the way that
	// the client ends transactions.
	EndAgain(ctx context.Context, who Producer, plainly bool) error
	// Pause waits for a while, or returns ctx's error.
	Pause(ctx context.Context, d time.Duration) error
}
