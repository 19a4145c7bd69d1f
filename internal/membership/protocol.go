package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/share"
)

// send sends a request that is answered once the group's other members have been heard. It returns nil where the group has
// forgotten this member meanwhile, which is to join again under a new id.
func send[R any](ctx context.Context, m *Member, client *kgo.Client, most time.Duration, request func(context.Context, kmsg.Requestor) (*R, error)) (*R, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	ctx, waited := m.waiting(ctx, client)
	response, err := request(ctx, client)
	if forgotten := waited(); forgotten && err != nil {
		m.id = ""
		return nil, nil
	}
	return response, err
}

// join enters the group's next generation. It returns nil to be called again.
func (m *Member) join(ctx context.Context, client *kgo.Client) (*kmsg.JoinGroupResponse, error) {
	described := m.config.Describe()
	metadata, err := described.Append(nil)
	if err != nil {
		return nil, err
	}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = share.Protocol, metadata
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.MemberID, request.InstanceID = m.config.Group, m.id, &m.config.Instance
	request.SessionTimeoutMillis = int32(m.config.Session.Milliseconds())
	request.RebalanceTimeoutMillis = int32(rebalanceTimeout.Milliseconds())
	request.ProtocolType, request.Protocols = share.ProtocolType, []kmsg.JoinGroupRequestProtocol{protocol}
	response, err := send(ctx, m, client, rebalanceTimeout+m.config.Session+callTimeout, request.RequestWith)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	if response == nil {
		return nil, nil
	}
	switch err := kerr.ErrorForCode(response.ErrorCode); {
	case errors.Is(err, kerr.MemberIDRequired):
		m.id = response.MemberID
		return nil, nil
	case errors.Is(err, kerr.UnknownMemberID):
		m.id = ""
		return nil, nil
	case errors.Is(err, kerr.FencedInstanceID):
		return nil, fmt.Errorf("%w: stop one of the two, or give each an instance name and a URL of its own", ErrFenced)
	case errors.Is(err, kerr.InvalidSessionTimeout):
		return nil, fmt.Errorf("%w: the brokers do not allow a session time-out of %v; choose one between their group.min.session.timeout.ms (Kafka's default is 6s) and group.max.session.timeout.ms", ErrGroup, m.config.Session)
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		return nil, fmt.Errorf("%w: %s has members of another kind; choose a group name that no consumer uses", ErrGroup, m.config.Group)
	case errors.Is(err, kerr.InvalidGroupID):
		return nil, fmt.Errorf("%w: %q is no valid group name", ErrGroup, m.config.Group)
	case err != nil:
		return nil, fmt.Errorf("joining: %w", err)
	}
	m.id, m.generation = response.MemberID, response.Generation
	m.confirm()
	return response, nil
}

// sync hands out the map where this member leads, and returns the map. It returns nil to join again.
func (m *Member) sync(ctx context.Context, client *kgo.Client, joined *kmsg.JoinGroupResponse) (*share.Map, error) {
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.config.Group, m.id, &m.config.Instance, m.generation
	protocolType, protocol := share.ProtocolType, share.Protocol
	request.ProtocolType, request.Protocol = &protocolType, &protocol
	if joined.LeaderID == m.id && !joined.SkipAssignment {
		var err error
		if request.GroupAssignment, err = m.lead(joined.Members); err != nil {
			return nil, err
		}
	}
	response, err := send(ctx, m, client, rebalanceTimeout+callTimeout, request.RequestWith)
	if err != nil {
		return nil, fmt.Errorf("taking the assignment: %w", err)
	}
	if response == nil {
		return nil, nil
	}
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, m.lost("taking the assignment", err)
	}
	m.confirm()
	if len(response.MemberAssignment) == 0 {
		return nil, nil // the leader is of a kind that says nothing; or gone
	}
	current, err := share.DecodeMap(response.MemberAssignment)
	if err != nil {
		return nil, err
	}
	current.Generation = m.generation
	return &current, nil
}

// lead computes the map. All members get the same one.
func (m *Member) lead(joined []kmsg.JoinGroupResponseMember) ([]kmsg.SyncGroupRequestGroupAssignment, error) {
	var members []share.Member
	refused := make(map[string]string)
	for _, j := range joined {
		member, err := share.DecodeMember(j.ProtocolMetadata)
		if err != nil {
			refused[j.MemberID] = err.Error()
			continue
		}
		member.ID = j.MemberID
		members = append(members, member)
	}
	assigned := share.Assign(members)
	for id, reason := range assigned.Refused {
		refused[id] = reason
	}
	if len(refused) > 0 {
		assigned.Refused = refused
		m.log.Error("instances are refused", "refused", refused)
	}
	encoded, err := assigned.Append(nil)
	if err != nil {
		return nil, err
	}
	var assignments []kmsg.SyncGroupRequestGroupAssignment
	for _, j := range joined {
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID, assignment.MemberAssignment = j.MemberID, encoded
		assignments = append(assignments, assignment)
	}
	return assignments, nil
}

// lost returns nil for an error after which joining again mends all.
func (m *Member) lost(doing string, err error) error {
	switch {
	case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration):
		return nil
	case errors.Is(err, kerr.UnknownMemberID):
		m.id = ""
		return nil
	case errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("%w: stop one of the two, or give each an instance name and a URL of its own", ErrFenced)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// heartbeat reports whether the group wants this member to join again.
func (m *Member) heartbeat(ctx context.Context, client *kgo.Client) (again bool, err error) {
	answer, err := m.beat(ctx, client, m.id, m.generation)
	if err != nil {
		return false, fmt.Errorf("sending a heartbeat: %w", err)
	}
	if answer != nil {
		return true, m.lost("sending a heartbeat", answer)
	}
	return false, nil
}

// beat sends one heartbeat, and returns what the coordinator says to it. It may be called by several goroutines.
func (m *Member) beat(ctx context.Context, client *kgo.Client, id string, generation int32) (answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.config.Group, id, &m.config.Instance, generation
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	answer = kerr.ErrorForCode(response.ErrorCode)
	if answer == nil || errors.Is(answer, kerr.RebalanceInProgress) { // whom it asks to join again is a member
		m.confirm()
	}
	return answer, nil
}

// leave has the group go on without this instance at once. What cannot be said is found out by the session's time-out.
func (m *Member) leave(client *kgo.Client) {
	if m.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group, request.MemberID = m.config.Group, m.id
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID, member.InstanceID = m.id, &m.config.Instance
	request.Members = []kmsg.LeaveGroupRequestMember{member}
	if _, err := request.RequestWith(ctx, client); err != nil {
		m.log.Warn("the group was not told that this instance leaves; it finds out by itself", "error", err)
	}
	m.id = ""
}
