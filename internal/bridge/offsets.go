package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
)

// groupOffsets implements commit.Offsets.
type groupOffsets struct {
	admin  *log.Admin
	client *kgo.Client
}

// Committed implements commit.Offsets.
func (g groupOffsets) Committed(ctx context.Context, group string, topics []string) (map[commit.Place]commit.StoredOffset, error) {
	positions, err := g.admin.CommittedOffsets(ctx, group, true, topics...)
	if err != nil {
		return nil, err
	}
	stored := map[commit.Place]commit.StoredOffset{}
	for _, topic := range topics {
		for number, at := range positions[topic] {
			parsed, err := meta.ParseOffset(at.Metadata)
			stored[commit.Place{Topic: topic, Partition: number}] = commit.StoredOffset{
				Next: at.Offset, Meta: parsed, Foreign: err != nil || at.Metadata == "",
			}
		}
	}
	return stored, nil
}

// Current implements commit.Offsets: a heartbeat of the member's own is answered well only in its generation.
func (g groupOffsets) Current(ctx context.Context, member commit.Member) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = member.Group, member.ID, member.Generation
	if member.InstanceID != "" {
		req.InstanceID = &member.InstanceID
	}
	resp, err := req.RequestWith(ctx, g.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	switch {
	case err == nil, errors.Is(err, kerr.RebalanceInProgress): // the next generation has not begun
		return nil
	case errors.Is(err, kerr.FencedInstanceID):
		return fmt.Errorf("%w: asking whether generation %d goes on: %w", commit.ErrInstanceFenced, member.Generation, err)
	}
	return fmt.Errorf("%w: asking whether generation %d goes on: %w", commit.ErrFenced, member.Generation, err)
}
