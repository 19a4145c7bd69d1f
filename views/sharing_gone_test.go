package views_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/views"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// staticMember joins a group as a static member that gives no sign of life, and that the group does not miss in the time of a test.
func (s *shared) staticMember(t *testing.T, group, instance string) {
	t.Helper()
	client := s.broker.Client(t)
	defer client.Close()
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "none"
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.InstanceID, join.ProtocolType = group, &instance, "test"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 120_000, 120_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{protocol}
	joined, err := join.RequestWith(t.Context(), client)
	if err != nil || joined.ErrorCode != 0 {
		t.Fatalf("joining: %v, error code %d", err, joined.ErrorCode)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.InstanceID, sync.MemberID, sync.Generation = group, &instance, joined.MemberID, joined.Generation
	sync.ProtocolType, sync.Protocol = &join.ProtocolType, &protocol.Name
	assignment := kmsg.NewSyncGroupRequestGroupAssignment()
	assignment.MemberID = joined.MemberID
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{assignment}
	if synced, err := sync.RequestWith(t.Context(), client); err != nil || synced.ErrorCode != 0 {
		t.Fatalf("taking the assignment: %v, error code %d", err, synced.ErrorCode)
	}
}

// An instance whose process is gone is taken out of the groups that it was a member of, long before those miss it; one that
// hangs, and one that is there, are not.
func TestGoneInstanceIsTakenOut(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 4, 1)
		s.fill(t, 10)
		admin, err := log.NewAdmin(log.Config{Brokers: b.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		groups := []string{b.Name(t), b.Name(t), b.Name(t), b.Name(t)}
		tied := func(numbers ...int) func(*instanceConfig) {
			return func(c *instanceConfig) {
				for _, n := range numbers {
					s.staticMember(t, groups[n], c.Name)
					c.Tied = append(c.Tied, views.Membership{Group: groups[n], Instance: c.Name})
				}
			}
		}
		member := func(n int, name string) bool {
			_, members, err := admin.GroupMembers(t.Context(), groups[n])
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == name })
		}
		one, hangs, dies := s.start(t, "one", tied(0)), s.spawn(t, "hangs", tied(1)), s.spawn(t, "dies", tied(2, 3))
		s.settled(t, one, hangs, dies)
		time.Sleep(time.Second) // for each to have been looked at
		hangs.pause(t)
		time.Sleep(2 * time.Second)
		if !member(1, "hangs") {
			t.Error("an instance that hangs has been taken out of its group")
		}
		hangs.proceed(t)
		dies.kill()
		killed := time.Now()
		eventually(t, "the instance that has died is taken out of its groups", func() bool { return !member(2, "dies") && !member(3, "dies") })
		t.Logf("taken out %v after it was killed", time.Since(killed).Round(time.Millisecond))
		if !member(0, "one") || !member(1, "hangs") {
			t.Error("an instance that is there has been taken out of its group")
		}
	})
}
