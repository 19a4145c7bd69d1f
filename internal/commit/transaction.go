package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/meta"
)

// errNoAnswer stands for the error that a producer did not give with an unknown outcome.
var errNoAnswer = errors.New("the end of the transaction was not answered")

// transaction is the sealed work of all tasks of a session.
type transaction struct {
	parts   []*sealed
	records int
	bytes   int
	begun   time.Time
}

// offsets returns the input offsets of the transaction. A topic of which the task read nothing, or a task that read nothing
// at all (timers), commits its last offset again, so that sequence and stream time are known of each (rule 4).
func (s *Session) offsets(tx *transaction) []Offset {
	var offsets []Offset
	for _, part := range tx.parts {
		partition := part.unit.Task.Partition()
		metadata := meta.Offset{Sequence: part.layer.Sequence, StreamTime: part.layer.StreamTime}.String()
		for _, topic := range s.topics {
			next, known := part.layer.Offsets[topic]
			if !known {
				next, known = s.next[Place{Topic: topic, Partition: partition}]
			}
			if known {
				offsets = append(offsets, Offset{Topic: topic, Partition: partition, Offset: next, Metadata: metadata})
			}
		}
	}
	return offsets
}

// commit takes one transaction through the log and onto the disk. After an error the session is over.
func (s *Session) commit(ctx context.Context, tx *transaction) error {
	producer := s.producers[s.turn]
	s.turn = (s.turn + 1) % len(s.producers)
	if err := producer.Begin(ctx); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	s.send(producer, tx)
	outcome, err := producer.Commit(ctx, s.member, s.offsets(tx))
	switch outcome {
	case Aborted:
		return errors.Join(ErrAborted, err)
	case Unknown:
		if err == nil {
			err = errNoAnswer
		}
		if err := s.resolve(ctx, producer, tx, err); err != nil {
			return err
		}
	}
	for _, part := range tx.parts {
		if err := part.apply(s.now()); err != nil {
			return err
		}
	}
	s.remember(tx)
	return nil
}

// send queues the records of the transaction: outputs in the order of the steps, then the changelogs'.
func (s *Session) send(producer Producer, tx *transaction) {
	for _, part := range tx.parts {
		layer := part.layer
		for i := range layer.Outputs {
			producer.Send(&layer.Outputs[i], nil)
		}
		done := map[string]func(int64){}
		for i := range layer.Changelog {
			output := &layer.Changelog[i]
			if done[output.Store] == nil {
				done[output.Store] = part.acknowledged(output.Store)
			}
			producer.Send(output, done[output.Store])
		}
	}
}

// acknowledged returns the function that notes how far a store's changelog was written.
func (s *sealed) acknowledged(name string) func(int64) {
	return func(offset int64) {
		if have, ok := s.written[name]; !ok || offset > have {
			s.written[name] = offset
		}
	}
}

// resolve finds out whether a transaction happened whose end was not answered (rule 4): the id is initialised again, which
// ends whatever is still open, and the group's stable offsets carry the sequence of what has happened. It never guesses: that
// the group is still in our generation tells that the sequence is ours. If somebody else has gone on from the last commit,
// their sequence may be the same; and the id may be another process's, from whom it must not be taken.
func (s *Session) resolve(ctx context.Context, producer Producer, tx *transaction, cause error) error {
	failed := func(err error) error {
		return fmt.Errorf("finding out what became of a transaction (%w): %w", cause, err)
	}
	if err := s.group.Current(ctx, s.member); err != nil {
		return failed(err)
	}
	if err := producer.Recover(ctx); err != nil {
		return failed(err)
	}
	stored, err := s.group.Committed(ctx, s.member.Group, s.topics)
	if err != nil {
		return failed(err)
	}
	happened := 0
	for _, part := range tx.parts {
		for _, topic := range s.topics {
			offset, ok := stored[Place{Topic: topic, Partition: part.unit.Task.Partition()}]
			if ok && offset.Meta.Sequence >= part.layer.Sequence {
				happened++
				break
			}
		}
	}
	if happened == 0 {
		return errors.Join(ErrAborted, cause)
	}
	if err := s.group.Current(ctx, s.member); err != nil {
		return failed(err)
	}
	if happened < len(tx.parts) {
		return fmt.Errorf("%w: %d of %d tasks: %w", ErrTorn, happened, len(tx.parts), cause)
	}
	return nil
}

// remember keeps the offsets that are committed now.
func (s *Session) remember(tx *transaction) {
	for _, part := range tx.parts {
		for topic, next := range part.layer.Offsets {
			s.next[Place{Topic: topic, Partition: part.unit.Task.Partition()}] = next
		}
	}
	if s.observer != nil {
		s.observer.TransactionCommitted(tx.records, tx.bytes, s.now().Sub(tx.begun))
	}
}
