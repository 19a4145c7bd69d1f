package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
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
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	passing := anyOf(kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator)
	err = retry(ctx, passing, func() error {
		resp, err := ask(ctx, a.cl, req)
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
	if err != nil {
		return "", nil, a.explain("describing group "+group, err)
	}
	return state, members, nil
}
