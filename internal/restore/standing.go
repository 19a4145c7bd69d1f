package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/internal/commit"
)

// Standing is what the group's offsets say of a task.
type Standing struct {
	// Sequence and StreamTime are those of the last commit. Changelog records of later commits are not applied.
	Sequence   uint64
	StreamTime int64
	// Found says that the group has an offset, Foreign that another tool has set it.
	Found, Foreign bool
}

// StandingOf gathers what the offsets of all topics say of one task: each commit writes all of them.
func StandingOf(number int32, topics []string, stored map[commit.Place]commit.StoredOffset) (s Standing) {
	for _, topic := range topics {
		if at, ok := stored[commit.Place{Topic: topic, Partition: number}]; ok {
			s.Found, s.Foreign = true, s.Foreign || at.Foreign
			s.Sequence, s.StreamTime = max(s.Sequence, at.Meta.Sequence), max(s.StreamTime, at.Meta.StreamTime)
		}
	}
	return s
}

// Inputs returns where each assigned partition of each topic is to be read from: the committed offset, or the first there
// is. It refuses committed offsets that the topics do not have (any more): reading on elsewhere would lose records.
func Inputs(config Config, topics []string, assigned []int32, stored map[commit.Place]commit.StoredOffset, starts, ends map[commit.Place]int64) (map[commit.Place]int64, error) {
	next := map[commit.Place]int64{}
	var wrong []error
	for _, topic := range topics {
		for _, number := range assigned {
			place := commit.Place{Topic: topic, Partition: number}
			at, ok := stored[place]
			if !ok {
				next[place] = starts[place]
				continue
			}
			if next[place] = at.Next; at.Next < starts[place] || at.Next > ends[place] {
				wrong = append(wrong, fmt.Errorf("%w: group %s is at offset %d of %s/%d, which has %d to %d: records were deleted unprocessed or the topic was made anew; if that is meant, run 'tidemill reset %s'",
					ErrOffsetOutOfRange, config.Group, at.Next, topic, number, starts[place], ends[place], config.Application))
			}
		}
	}
	return next, errors.Join(wrong...)
}

// Final returns why the opening of a session has failed: err, or, where that says that rejoining mends nothing, that the group
// has gone on without the member. What it had read of the group may then be older than what it has read of the log: a process
// that was stopped between the two must not take another's first commit for a lost offset.
func Final(ctx context.Context, group commit.Offsets, member commit.Member, err error) error {
	for _, sentinel := range []error{ErrNoCommittedOffset, ErrForeignOffset, ErrOffsetOutOfRange} {
		if errors.Is(err, sentinel) {
			if fenced := group.Current(ctx, member); fenced != nil {
				return fenced
			}
		}
	}
	return err
}

// Unstarted returns the places of the tasks that the group has no offset of. They are committed before anything else: from
// then on an offset that is missing has been lost, and a changelog with records tells so, whatever its transactions.
func Unstarted(standings map[int32]Standing, next map[commit.Place]int64) map[commit.Place]int64 {
	first := map[commit.Place]int64{}
	for place, offset := range next {
		if !standings[place.Partition].Found {
			first[place] = offset
		}
	}
	return first
}

// IDSeparator stands between the parts of a transactional id. Neither a group nor an instance id can contain it, so that no
// id belongs to two groups: with '-', instance "b-c" of group "a" would have the ids of instance "c" of group "a-b".
const IDSeparator = ":"

// TransactionalID is "<group>:<instance>:<0 or 1>" (rule 1).
func TransactionalID(group, instance string, turn int) string {
	return fmt.Sprint(group, IDSeparator, instance, IDSeparator, turn)
}

// InstanceOf returns the instance that a transactional id of the group belongs to; false for an id that is not one.
func InstanceOf(group, id string) (instance string, ok bool) {
	rest, ok := strings.CutPrefix(id, group+IDSeparator)
	if !ok {
		return "", false
	}
	instance, turn, ok := strings.Cut(rest, IDSeparator)
	return instance, ok && instance != "" && (turn == "0" || turn == "1")
}

// Departed returns, of the ids of open transactions, those whose instance has left the group: whoever has its partitions now
// must end them (rule 1). present tells whether an instance is a member.
func Departed(group, self string, open []string, present func(instance string) bool) []string {
	var departed []string
	for _, id := range open {
		if instance, ok := InstanceOf(group, id); ok && instance != self && !present(instance) {
			departed = append(departed, id)
		}
	}
	return departed
}

// Own tells whether an id of the instance's own is among those of open transactions.
func Own(group, self string, open []string) bool {
	return slices.ContainsFunc(open, func(id string) bool {
		instance, ok := InstanceOf(group, id)
		return ok && instance == self
	})
}

// Turn tells whether it is this instance's turn to take over what departed instances have left: the first member's at once,
// each other's when it has been held up so many times. Two that do so at the same moment would abort each other's mending of
// what was committed (package settle).
func Turn(self string, members []string, held int) bool {
	before := 0
	for _, member := range members {
		if member != "" && member < self {
			before++
		}
	}
	return before <= held
}
