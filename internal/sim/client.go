package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	partitioning "github.com/tidemill/tidemill/internal/partition"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/settle"
	"github.com/tidemill/tidemill/internal/task"
)

// client is a transactional producer as log.TxnProducer is one: records are sent in the background, a transaction with an
// error can only be aborted, and after an error the id is initialised again. It implements transact.Client.
type client struct {
	world   *world
	process *process
	id      string
	ready   bool
	key     producerKey
	next    map[commit.Place]int // sequence numbers
	tx      *clientTx
	ledger  *settle.Ledger
	watch   *clientWatch // over the last commit, nil if there is none
}

// clientTx is the client's side of a transaction.
type clientTx struct {
	buffered []*kgo.Record
	sending  bool
	produced bool // a record was given to it, ever
	offsets  bool // offsets were sent
	failed   error
	sent     settle.Sent
}

// newClient returns a client that is not initialised. It looks where any instance of the group may have written.
func (w *world) newClient(p *process, id string) *client {
	c := &client{world: w, process: p, id: id}
	c.ledger = settle.New(settling{c})
	c.ledger.Covers(w.sub.Group, w.written()...)
	return c
}

// caller is the coroutine that runs now: the commit protocol runs on one of the process's.
func (c *client) caller() *coroutine { return c.process.current() }

// Reinit implements transact.Client.
func (c *client) Reinit(ctx context.Context) error {
	c.ledger.Doubt()
	return c.init(ctx)
}

func (c *client) init(ctx context.Context) error {
	c.ready = false
	c.dropWatch()
	c.doubt()
	c.tx = nil
	if err := c.ledger.Init(ctx); err != nil {
		return fmt.Errorf("initialising %s: %w", c.id, err)
	}
	c.ready = true
	return nil
}

// doubt says that the open transaction, if it has anything in it, does not end as it should.
func (c *client) doubt() {
	if c.tx != nil && (c.tx.produced || c.tx.offsets) {
		c.ledger.Doubt()
	}
}

// Begin implements transact.Client.
func (c *client) Begin() error {
	switch {
	case !c.ready:
		return log.ErrNotReady
	case c.tx != nil:
		return errors.New("the last transaction has not ended")
	}
	if err := c.endWatch(); err != nil {
		c.ready = false
		return err
	}
	if c.ledger.Stale() {
		if err := c.init(context.Background()); err != nil {
			return err
		}
	}
	c.tx = &clientTx{sent: settle.Sent{Last: log.Offsets{}, Offsets: settle.Partitions{}}}
	return nil
}

// Produce implements transact.Client.
func (c *client) Produce(record *kgo.Record) error {
	return c.ProduceTo(record, partitioning.ForKey(record.Key, c.world.profile.partitions))
}

// ProduceBy implements transact.Client.
func (c *client) ProduceBy(record *kgo.Record, key []byte) error {
	return c.ProduceTo(record, partitioning.ForKey(key, c.world.profile.partitions))
}

// ProduceTo implements transact.Client: the record is sent a little later, with those that have come meanwhile.
func (c *client) ProduceTo(record *kgo.Record, number int32) error {
	tx := c.tx
	if tx == nil {
		return log.ErrNotInTransaction
	}
	record.Partition = number
	tx.produced = true
	tx.buffered = append(tx.buffered, record)
	if !tx.sending {
		tx.sending = true
		c.world.schedule.spawn(c.process, func(co *coroutine) { c.send(co, tx) })
	}
	return nil
}

// send sends what is buffered, batch by batch.
func (c *client) send(co *coroutine, tx *clientTx) {
	defer func() { tx.sending = false }()
	for c.tx == tx && tx.failed == nil && len(tx.buffered) > 0 {
		co.pause(500 * time.Microsecond)
		if c.tx != tx || len(tx.buffered) == 0 {
			return
		}
		place := commit.Place{Topic: tx.buffered[0].Topic, Partition: tx.buffered[0].Partition}
		most, key, id, sequence := 1+co.schedule.random.IntN(8), c.key, c.id, c.next[commit.Place{Topic: place.Topic, Partition: place.Partition}]
		var chosen, left []*kgo.Record
		for _, record := range tx.buffered {
			if record.Topic == place.Topic && record.Partition == place.Partition && len(chosen) < most {
				chosen = append(chosen, record)
			} else {
				left = append(left, record)
			}
		}
		records := copied(chosen)
		c.ledger.Wrote(place.Topic, place.Partition)
		base, err := retry(context.Background(), co, func() (int64, error) {
			return c.world.brokers.produce(id, key, place, sequence, records)
		})
		if err != nil {
			tx.failed = fmt.Errorf("producing to %s: %w", place.Topic, err)
			return
		}
		if tx.sent.Last[place.Topic] == nil {
			tx.sent.Last[place.Topic] = map[int32]int64{}
		}
		tx.sent.Last[place.Topic][place.Partition] = base + int64(len(records)) - 1
		for i, record := range chosen {
			record.Offset = base + int64(i)
		}
		// Records may have come meanwhile.
		tx.buffered = append(left, tx.buffered[len(chosen)+len(left):]...)
		c.next[place] = sequence + len(records)
	}
}

// copied returns what goes over the wire: the layer's memory serves again after the commit.
func copied(from []*kgo.Record) []task.Record {
	records := make([]task.Record, len(from))
	for i, r := range from {
		records[i] = task.Record{Timestamp: r.Timestamp.UnixMilli(), Key: clone(r.Key), Value: clone(r.Value)}
		for _, h := range r.Headers {
			records[i].Headers = append(records[i].Headers, graph.Header{Key: h.Key, Value: clone(h.Value)})
		}
	}
	return records
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// Flush implements transact.Client.
func (c *client) Flush(ctx context.Context) error {
	tx := c.tx
	if tx == nil {
		return log.ErrNotInTransaction
	}
	co := c.caller()
	for tx.sending && tx.failed == nil {
		co.sleep(100 * time.Microsecond)
		if err := ctx.Err(); err != nil {
			tx.failed = err
		}
	}
	return tx.failed
}

// CommitOffsets implements transact.Client.
func (c *client) CommitOffsets(ctx context.Context, member log.Member, to log.Positions) error {
	tx := c.tx
	if tx == nil {
		return log.ErrNotInTransaction
	}
	tx.offsets, tx.sent.Group = true, member.Group
	c.ledger.Commits(member.Group)
	offsets := map[commit.Place]stableOffset{}
	for topic, partitions := range to {
		for number, at := range partitions {
			tx.sent.Offsets.Add(topic, number)
			offsets[commit.Place{Topic: topic, Partition: number}] = stableOffset{next: at.Offset, metadata: at.Metadata}
		}
	}
	b, id, key := c.world.brokers, c.id, c.key
	var err error
	if !c.world.profile.implicit {
		_, err = retry(ctx, c.caller(), func() (bool, error) { return true, b.addPlaces(id, key, nil, true) })
	}
	if err == nil {
		request := func() (bool, error) { return true, b.txnOffsetCommit(id, key, member, offsets) }
		if tx.produced {
			_, err = retry(ctx, c.caller(), request)
		} else {
			_, err = once(ctx, c.caller(), request) // the epoch will not move on with the end
		}
	}
	if err != nil {
		tx.failed = fmt.Errorf("adding offsets: %w", err)
	}
	return tx.failed
}

// End implements transact.Client.
func (c *client) End(ctx context.Context, commit bool) (log.Outcome, error) {
	tx := c.tx
	if tx == nil {
		return log.Aborted, log.ErrNotInTransaction
	}
	if commit {
		if err := c.Flush(ctx); err != nil {
			return log.Aborted, errors.Join(err, c.abort(ctx, tx))
		}
		return c.commit(ctx, tx)
	}
	return log.Aborted, c.abort(ctx, tx)
}

func (c *client) commit(ctx context.Context, tx *clientTx) (log.Outcome, error) {
	c.tx = nil
	if !tx.produced && !tx.offsets {
		return log.Committed, nil
	}
	key, bump := c.key, c.world.profile.implicit && tx.produced
	next, err := c.endTxn(ctx, key, committed, bump)
	if err != nil {
		c.ready = false
		c.ledger.Doubt()
		c.ledger.Unanswered(settle.Producer{ID: key.pid, Epoch: key.epoch}, !bump)
		return log.Unknown, err
	}
	c.use(next)
	c.beginWatch(tx.sent)
	return log.Committed, nil
}

// endTxn asks for the end of a transaction, sometimes only once: the answer may be lost for good.
func (c *client) endTxn(ctx context.Context, key producerKey, how fate, bump bool) (producerKey, error) {
	request := func() (producerKey, error) { return c.world.brokers.endTxn(c.id, key, how, bump) }
	if !bump && c.world.profile.implicit {
		return once(ctx, c.caller(), request)
	}
	if c.world.schedule.chance(0.5) {
		next, err := call(c.caller(), request)
		if !errors.Is(err, errBusy) {
			return next, err
		}
	}
	return retry(ctx, c.caller(), request)
}

// use takes over the epoch that the end of a transaction was answered with.
func (c *client) use(key producerKey) {
	if key != c.key {
		c.key, c.next = key, map[commit.Place]int{}
	}
}

// abort ends the transaction without a trace; by initialising the id where something failed, or offsets are part of it.
func (c *client) abort(ctx context.Context, tx *clientTx) error {
	c.doubt()
	c.tx = nil
	if err := tx.failed; err != nil {
		if c.ready = false; errors.Is(err, log.ErrProducerFenced) || errors.Is(err, log.ErrInstanceFenced) {
			return err
		}
		return c.init(ctx)
	}
	if tx.offsets {
		return c.init(ctx)
	}
	if !tx.produced {
		return nil
	}
	next, err := c.endTxn(ctx, c.key, aborted, c.world.profile.implicit)
	if err == nil {
		c.use(next)
		err = c.ledger.Aborted(ctx)
	}
	if err != nil {
		c.ready = false
		c.ledger.Doubt()
	}
	return err
}
