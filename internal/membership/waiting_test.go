package membership

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/share"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A member that waits for another one for longer than its session time-out is not given up.
func TestWaitingIsNotDying(t *testing.T) {
	b := kafkatest.Embedded(t)
	g := newGroup(t, b)
	shorter := func(_ *share.Member, c *Config) { c.Session = rebalanceTimeout - time.Second }
	first := g.join(t, "first", shorter)
	agree(t, first)
	first.reach(t, g.joinAndHang(t))
	second := g.join(t, "second", shorter)
	agree(t, first, second)
	second.mu.Lock()
	defer second.mu.Unlock()
	if len(second.maps[0].Instances) != 2 {
		t.Errorf("the first one was given up while it waited: the map was of %+v", second.maps[0].Instances)
	}
}

// A member that the coordinator has forgotten while it waits joins anew, before its call fails for want of an answer.
func TestForgottenWhileWaiting(t *testing.T) {
	b := kafkatest.Embedded(t)
	g := newGroup(t, b)
	var complaints bytes.Buffer
	first := g.join(t, "first", func(_ *share.Member, c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&complaints, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	agree(t, first)
	generation := g.joinAndHang(t)
	first.reach(t, generation)
	first.Announce() // and waits for the one that hangs
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	client := b.Client(t)
	defer client.Close()
	time.Sleep(2 * settle) // whenever the coordinator forgets it, it must come back
	name := "first"
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group = g.name
	request.Members = []kmsg.LeaveGroupRequestMember{{InstanceID: &name}}
	if _, err := request.RequestWith(ctx, client); err != nil {
		t.Fatal(err)
	}
	first.reach(t, generation+1)
	first.stop(t)
	if complaints.Len() > 0 {
		t.Errorf("it found out by itself: %s", complaints.Bytes())
	}
}

// reach waits for the map of a generation, or of a later one.
func (p *process) reach(t *testing.T, generation int32) {
	t.Helper()
	deadline := time.After(patient)
	for {
		current, changed := p.last()
		if current.Generation >= generation {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s has generation %d, and waits for %d", p.name, current.Generation, generation)
		}
	}
}

// joinAndHang has a member join that lives and takes part in no rebalance after the first. It
// returns the generation of that.
func (g *group) joinAndHang(t *testing.T) (generation int32) {
	t.Helper()
	client := g.broker.Client(t, kgo.RetryTimeout(patient))
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	described := share.Member{Instance: "hangs", URL: "http://hangs", Scope: "rows", Partitions: 6, Capacity: 1}
	metadata, err := described.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = share.Protocol, metadata
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = g.name, int32(patient.Milliseconds()), 1000
	join.ProtocolType, join.Protocols = share.ProtocolType, []kmsg.JoinGroupRequestProtocol{protocol}
	generation = -1
	for generation < 0 {
		response, err := join.RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if join.MemberID = response.MemberID; response.ErrorCode == 0 {
			generation = response.Generation
		}
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = g.name, join.MemberID, generation
	response, err := sync.RequestWith(ctx, client)
	if err != nil || response.ErrorCode != 0 {
		t.Fatalf("taking the assignment: %v %v", err, response)
	}
	return generation
}
