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
//
// held is how many times in a row a transaction has held up the session that is being opened. Then our own ids are initialised
// again too if something is open under them: another process may have had them meanwhile, and is gone.
func (p *Processor) endDeparted(ctx context.Context, held int) error {
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
	if held > 0 && restore.Own(group, p.config.InstanceID, open) {
		p.unclean = true
		if err := p.recoverOwn(ctx); err != nil {
			return err
		}
	}
	_, members, err := p.admin.GroupMembers(ctx, group)
	if err != nil {
		return err
	}
	present := func(instance string) bool {
		return slices.ContainsFunc(members, func(m log.GroupMember) bool { return m.InstanceID == instance })
	}
	p.forgetReturned(present)
	departed := restore.Departed(group, p.config.InstanceID, open, present)
	if len(departed) == 0 || !restore.Turn(p.config.InstanceID, instances(members), held) {
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

func instances(members []log.GroupMember) (ids []string) {
	for _, m := range members {
		ids = append(ids, m.InstanceID)
	}
	return ids
}

// openTransactions returns the ids with this prefix of which something is not decided.
func (p *Processor) openTransactions(ctx context.Context, prefix string) ([]string, error) {
	all, err := p.admin.ListTransactions(ctx, prefix)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	producers, err := p.admin.OpenProducers(ctx, p.config.SubTopology.Group, p.written()...)
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
	producer, err := p.transactional(id)
	if err != nil {
		return err
	}
	if err := producer.Init(ctx); err != nil {
		return err
	}
	producer.Close()
	delete(p.ids, id)
	return nil
}

// forgetReturned lets go of the ids of instances that have come back before they were taken over: they have mended them.
func (p *Processor) forgetReturned(present func(instance string) bool) {
	for id, producer := range p.ids {
		if instance, _ := restore.InstanceOf(p.config.SubTopology.Group, id); instance != p.config.InstanceID && present(instance) {
			producer.Close()
			delete(p.ids, id)
		}
	}
}

// transactional returns the producer of an id. One whose initialisation has failed is kept for the next attempt: nobody else
// knows any more what it has found undecided.
func (p *Processor) transactional(id string) (*log.TxnProducer, error) {
	if kept := p.ids[id]; kept != nil {
		return kept, nil
	}
	producer, err := log.NewTxnProducer(p.config.Log, id, p.config.Timeouts.Session, p.producerOptions...)
	if err != nil {
		return nil, err
	}
	producer.Covers(p.config.SubTopology.Group, p.written()...)
	p.ids[id] = producer
	return producer, nil
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
