package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupMember is a member of a consumer group as its coordinator knows it.
type GroupMember struct {
	// ID is the member id; InstanceID the group instance id of a static member, empty for another.
	ID, InstanceID string
	// ClientID and Host say where it comes from.
	ClientID, Host string
}

// GroupMembers returns the state of a group, as Kafka names it, and its members. A group that does not exist is "Dead".
func (a *Admin) GroupMembers(ctx context.Context, group string) (state string, members []GroupMember, err error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if state, members, err = groupMembers(ctx, a.cl, group); err != nil {
		return "", nil, a.explain("describing group "+group, err)
	}
	return state, members, nil
}

func groupMembers(ctx context.Context, cl *kgo.Client, group string) (state string, members []GroupMember, err error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	passing := anyOf(kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)
	err = retry(ctx, passing, func() error {
		resp, err := ask(ctx, cl, req)
		if err != nil {
			return err
		}
		if len(resp.Groups) != 1 {
			return fmt.Errorf("the broker described %d groups, one was asked for", len(resp.Groups))
		}
		described := resp.Groups[0]
		if err := kerr.ErrorForCode(described.ErrorCode); err != nil {
			if errors.Is(err, kerr.GroupIDNotFound) {
				state, members = "Dead", nil
				return nil
			}
			return err
		}
		state, members = described.State, nil
		for _, m := range described.Members {
			member := GroupMember{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost}
			if m.InstanceID != nil {
				member.InstanceID = *m.InstanceID
			}
			members = append(members, member)
		}
		return nil
	})
	return state, members, err
}

// expiryPoll is how often StaysJoined asks; expiryMargin is for the coordinator, which expires a member some time after its
// session's end.
const (
	expiryPoll   = 200 * time.Millisecond
	expiryMargin = time.Second
)

// StaysJoined reports whether somebody gives signs of life under a static instance id (KIP-345): whether its member is still in
// the group after a session time-out. That takes as long, and begins anew whenever nobody answers, since a coordinator that
// starts counts from there. A join that its sender has given up can reach the coordinator late, and take the id from whoever has
// it by then (KAFKA-20985); no heartbeat comes for that one. member is who has the id. Where ctx ends first, nobody stays.
func (a *Admin) StaysJoined(ctx context.Context, group, instance string, session time.Duration) (member GroupMember, stays bool) {
	return StaysJoined(ctx, a.cl, group, instance, session)
}

// StaysJoined is Admin.StaysJoined for other clients.
func StaysJoined(ctx context.Context, cl *kgo.Client, group, instance string, session time.Duration) (member GroupMember, stays bool) {
	since := time.Now()
	for {
		member, found, err := staticMember(ctx, cl, group, instance)
		switch {
		case err != nil:
			since = time.Now()
		case !found:
			return GroupMember{}, false
		case time.Since(since) > session+expiryMargin:
			return member, true
		}
		select {
		case <-ctx.Done():
			return member, false
		case <-time.After(expiryPoll):
		}
	}
}

// expiryCall bounds one question of StaysJoined.
const expiryCall = 5 * time.Second

func staticMember(ctx context.Context, cl *kgo.Client, group, instance string) (member GroupMember, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, expiryCall)
	defer cancel()
	_, members, err := groupMembers(ctx, cl, group)
	at := slices.IndexFunc(members, func(m GroupMember) bool { return m.InstanceID == instance })
	if err != nil || at < 0 {
		return GroupMember{}, false, err
	}
	return members[at], true, nil
}
