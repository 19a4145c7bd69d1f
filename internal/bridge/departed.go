package bridge

import (
	"context"
	"errors"
	"slices"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/restore"
)

// endDeparted ends the open transactions of instances that are not members of the group any more.
func (p *Processor) endDeparted(ctx context.Context) error {
	if p.config.Guarantee != ExactlyOnce {
		return nil
	}
	group := p.config.SubTopology.Group
	open, err := p.admin.OpenTransactions(ctx, group+restore.IDSeparator)
	if errors.Is(err, log.ErrBrokerTooOld) {
		return nil // before Kafka 3.0 they end by their time-out, no longer than the session's
	}
	if err != nil || len(open) == 0 {
		return err
	}
	_, members, err := p.admin.GroupMembers(ctx, group)
	if err != nil {
		return err
	}
	departed := restore.Departed(group, p.config.InstanceID, open, func(instance string) bool {
		return slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == instance })
	})
	if len(departed) == 0 {
		return nil
	}
	p.logger.Info("ending transactions of departed instances", "transactions", departed)
	return p.admin.AbortTransactions(ctx, departed...)
}
