package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Position is where a group stands in a partition.
type Position struct {
	// Offset is that of the next record to read.
	Offset int64
	// LeaderEpoch is the epoch of the record before it, -1 if not known.
	LeaderEpoch int32
	// Metadata is what the committer wrote beside it.
	Metadata string
}

// Positions holds a group's position in each partition of each topic.
type Positions map[string]map[int32]Position

// Set stores one position.
func (p Positions) Set(topic string, partition int32, at Position) {
	if p[topic] == nil {
		p[topic] = make(map[int32]Position)
	}
	p[topic][partition] = at
}

// CommittedOffsets returns what a group has committed in the given topics, or,
// with none given, in all; a partition without a commit is not in it.
//
// With requireStable it waits, within the deadline, until no open transaction
// holds offsets of the group (KIP-447). Then the topics must be given: where all
// are asked for, a broker says nothing of a partition whose first commit is not
// decided yet. Without requireStable it returns what was committed before those.
func (a *Admin) CommittedOffsets(ctx context.Context, group string, requireStable bool, topics ...string) (Positions, error) {
	doing := "reading the offsets of group " + group
	if requireStable && len(topics) == 0 {
		return nil, fmt.Errorf("%s: stable offsets can only be had of named topics", doing)
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req, err := a.offsetFetchRequest(ctx, group, topics)
	if err != nil {
		return nil, a.explain(doing, err)
	}
	req.RequireStable = requireStable
	var found Positions
	passing := anyOf(kerr.UnstableOffsetCommit, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)
	err = retry(ctx, passing, func() error {
		found, err = offsetFetch(ctx, a.cl, req)
		return err
	})
	if errors.Is(err, kerr.GroupIDNotFound) {
		return Positions{}, nil // some brokers say so instead of answering with nothing
	}
	if err != nil {
		return nil, a.explain(doing, err)
	}
	return found, nil
}

func (a *Admin) offsetFetchRequest(ctx context.Context, group string, topics []string) (*kmsg.OffsetFetchRequest, error) {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	for _, name := range topics {
		t, _, err := a.metadata(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("looking for topic %s: %w", name, err)
		}
		now, before3 := kmsg.NewOffsetFetchRequestGroupTopic(), kmsg.NewOffsetFetchRequestTopic()
		now.Topic, before3.Topic = name, name
		for p := range t.Partitions {
			now.Partitions = append(now.Partitions, p)
		}
		before3.Partitions = now.Partitions
		g.Topics, req.Topics = append(g.Topics, now), append(req.Topics, before3)
	}
	req.Groups = append(req.Groups, g)
	return req, nil
}

func offsetFetch(ctx context.Context, cl *kgo.Client, req *kmsg.OffsetFetchRequest) (Positions, error) {
	resp, err := ask(ctx, cl, req)
	if err != nil {
		return nil, err
	}
	if req.RequireStable && resp.Version < 7 {
		return nil, fmt.Errorf("%w: stable offsets need Kafka 2.5 (KIP-447)", ErrBrokerTooOld)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	found := Positions{}
	add := func(topic string, partition int32, offset int64, epoch int32, metadata *string, errorCode int16) error {
		if err := kerr.ErrorForCode(errorCode); err != nil {
			return fmt.Errorf("%s/%d: %w", topic, partition, err)
		}
		if offset < 0 {
			return nil
		}
		at := Position{Offset: offset, LeaderEpoch: epoch}
		if metadata != nil {
			at.Metadata = *metadata
		}
		found.Set(topic, partition, at)
		return nil
	}
	var errs []error
	for _, rg := range resp.Groups {
		errs = append(errs, kerr.ErrorForCode(rg.ErrorCode))
		for _, t := range rg.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, add(t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode))
			}
		}
	}
	if len(resp.Groups) == 0 { // before Kafka 3.0
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, add(t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode))
			}
		}
	}
	return found, errors.Join(errs...)
}

// AlterOffsets sets a group's positions. The group must have no members, else
// the error is ErrGroupActive.
func (a *Admin) AlterOffsets(ctx context.Context, group string, to Positions) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	for topic, partitions := range to {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for p, at := range partitions {
			op := kmsg.NewOffsetCommitRequestTopicPartition()
			op.Partition, op.Offset, op.LeaderEpoch, op.Metadata = p, at.Offset, at.LeaderEpoch, kmsg.StringPtr(at.Metadata)
			t.Partitions = append(t.Partitions, op)
		}
		req.Topics = append(req.Topics, t)
	}
	doing := "setting the offsets of group " + group
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return a.explain(doing, err)
	}
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			err := kerr.ErrorForCode(p.ErrorCode)
			if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.RebalanceInProgress) {
				return fmt.Errorf("%s: %w: stop every instance of the application first", doing, ErrGroupActive)
			}
			if err != nil {
				errs = append(errs, a.explain(fmt.Sprintf("%s in %s/%d", doing, t.Topic, p.Partition), err))
			}
		}
	}
	return errors.Join(errs...)
}

// RemoveStaticMember removes the member with a group instance id at once, so
// that the others need not wait for its session to time out. With a member id
// only the process that has it is removed, and not one that has joined under
// the same instance id since; "" takes whoever there is. A member that is not
// there is no error.
func (a *Admin) RemoveStaticMember(ctx context.Context, group, instanceID, memberID string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID, m.Reason = memberID, kmsg.StringPtr(instanceID), kmsg.StringPtr("drained")
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	req.Members = append(req.Members, m)
	doing := fmt.Sprintf("removing instance %s from group %s", instanceID, group)
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return a.explain(doing, err)
	}
	if resp.Version < 3 {
		return fmt.Errorf("%s: %w: static members need Kafka 2.4 (KIP-345)", doing, ErrBrokerTooOld)
	}
	gone := anyOf(kerr.UnknownMemberID, kerr.GroupIDNotFound, kerr.FencedInstanceID)
	errs := []error{kerr.ErrorForCode(resp.ErrorCode)}
	for _, m := range resp.Members {
		errs = append(errs, kerr.ErrorForCode(m.ErrorCode))
	}
	for _, err := range errs {
		if err != nil && !gone(err) {
			return a.explain(doing, err)
		}
	}
	return nil
}

// DeleteGroup removes a group with its offsets. It must have no members, else
// the error is ErrGroupActive. A group that is not there is no error.
func (a *Admin) DeleteGroup(ctx context.Context, group string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = []string{group}
	doing := "deleting group " + group
	resp, err := ask(ctx, a.cl, req)
	if err != nil {
		return a.explain(doing, err)
	}
	for _, g := range resp.Groups {
		err := code(g.ErrorCode, nil)
		if errors.Is(err, kerr.NonEmptyGroup) {
			return fmt.Errorf("%s: %w: stop every instance of the application first", doing, ErrGroupActive)
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return a.explain(doing, err)
		}
	}
	return nil
}
