package bridge

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/restore"
)

// endDeparted ends the open transactions of instances that are not members of the group any more. Open is also one that the
// coordinator has done with, and a partition has not: see log.Admin.OpenProducers.
func (p *Processor) endDeparted(ctx context.Context) error {
	if p.config.Guarantee != ExactlyOnce {
		return nil
	}
	group := p.config.SubTopology.Group
	open, err := p.openTransactions(ctx, group+restore.IDSeparator)
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
	for _, id := range departed {
		err := p.endTransaction(ctx, id)
		if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
			// Another instance, which has others of the partitions, has just taken the id over, and so ended what it had open. Where
			// that is not decided yet, the group's offsets and the restores wait for it as for any transaction's.
			p.logger.Debug("another instance ends the transaction", "transaction", id, "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openTransactions returns the ids with this prefix of which something is not decided.
func (p *Processor) openTransactions(ctx context.Context, prefix string) ([]string, error) {
	all, err := p.admin.ListTransactions(ctx, prefix)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	producers, err := p.admin.OpenProducers(ctx, p.written()...)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, t := range all {
		if t.Open() || producers[t.ProducerID] || p.unstable > unstablePatience {
			open = append(open, t.ID)
		}
	}
	return open, nil
}

// endTransaction takes an id over, as its instance would at its next start, and lets it go.
func (p *Processor) endTransaction(ctx context.Context, id string) error {
	producer, err := log.NewTxnProducer(p.config.Log, id, p.config.Timeouts.Session, p.producerOptions...)
	if err != nil {
		return err
	}
	defer producer.Close()
	producer.Covers(p.config.SubTopology.Group, p.written()...)
	return producer.Init(ctx)
}

// written returns the topics that the instances of this group write to.
func (p *Processor) written() []string {
	sub := p.config.SubTopology
	topics := []string{graph.DeadLetterTopic(sub.Application)}
	for _, sink := range sub.Sinks {
		topics = append(topics, sink.Topic.Name)
	}
	for _, store := range sub.Stores {
		topics = append(topics, store.Changelog)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}
