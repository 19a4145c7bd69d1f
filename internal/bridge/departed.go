package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/internal/log"
)

// idSeparator stands between the parts of a transactional id. Neither a group nor an instance id can contain it, so that no
// id belongs to two groups: with '-', instance "b-c" of group "a" would have the ids of instance "c" of group "a-b".
const idSeparator = ":"

// transactionalID is "<group>:<instance>:<0 or 1>".
func transactionalID(group, instance string, turn int) string {
	return fmt.Sprint(group, idSeparator, instance, idSeparator, turn)
}

// instanceOf returns the instance that a transactional id of the group belongs to; false for an id that is not one.
func instanceOf(group, id string) (instance string, ok bool) {
	rest, ok := strings.CutPrefix(id, group+idSeparator)
	if !ok {
		return "", false
	}
	instance, turn, ok := strings.Cut(rest, idSeparator)
	return instance, ok && instance != "" && (turn == "0" || turn == "1")
}

// endDeparted ends the open transactions of instances that are not members of the group any more.
func (p *Processor) endDeparted(ctx context.Context) error {
	if p.config.Guarantee != ExactlyOnce {
		return nil
	}
	group := p.config.SubTopology.Group
	open, err := p.admin.OpenTransactions(ctx, group+idSeparator)
	if err != nil || len(open) == 0 {
		return err
	}
	_, members, err := p.admin.GroupMembers(ctx, group)
	if err != nil {
		return err
	}
	var departed []string
	for _, id := range open {
		instance, ok := instanceOf(group, id)
		present := slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == instance })
		if ok && !present && instance != p.config.InstanceID {
			departed = append(departed, id)
		}
	}
	if len(departed) == 0 {
		return nil
	}
	p.logger.Info("ending transactions of departed instances", "transactions", departed)
	return p.admin.AbortTransactions(ctx, departed...)
}
