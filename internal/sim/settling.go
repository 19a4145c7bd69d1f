package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/settle"
)

// settling implements settle.Brokers for a client, as package log does: what is asked and when, is package settle's.
type settling struct{ *client }

// TakeOver implements settle.Brokers.
func (c settling) TakeOver(ctx context.Context) (settle.Producer, error) {
	key, err := c.initialised(ctx)
	return settle.Producer{ID: key.pid, Epoch: key.epoch}, err
}

// Initialise implements settle.Brokers.
func (c settling) Initialise(ctx context.Context) error {
	key, err := c.initialised(ctx)
	if err == nil {
		c.key, c.next = key, map[commit.Place]int{}
	}
	return err
}

func (c settling) initialised(ctx context.Context) (producerKey, error) {
	name, timeout := c.id, c.world.profile.txTimeout
	return retry(ctx, c.caller(), func() (producerKey, error) { return c.world.brokers.initProducerID(name, timeout) })
}

// Identity implements settle.Brokers.
func (c settling) Identity(context.Context) (settle.Producer, error) {
	return settle.Producer{ID: c.key.pid, Epoch: c.key.epoch}, nil
}

// Last implements settle.Brokers.
func (c settling) Last(ctx context.Context) (settle.Last, error) {
	return retry(ctx, c.caller(), func() (settle.Last, error) { return c.world.brokers.last(c.id), nil })
}

// Decided implements settle.Brokers.
func (c settling) Decided(ctx context.Context) (settle.Last, error) {
	return retry(ctx, c.caller(), func() (settle.Last, error) {
		if t := c.world.brokers.ids[c.id]; t != nil && t.open != nil && t.open.fate != undecided {
			return settle.Last{}, errBusy
		}
		return c.world.brokers.last(c.id), nil
	})
}

// Existing implements settle.Brokers.
func (c settling) Existing(ctx context.Context, topics []string) (settle.Partitions, error) {
	return retry(ctx, c.caller(), func() (settle.Partitions, error) {
		found := settle.Partitions{}
		for _, topic := range topics {
			for number := range c.world.profile.partitions {
				found.Add(topic, number)
			}
		}
		return found, nil
	})
}

// Open implements settle.Brokers.
func (c settling) Open(ctx context.Context, producer int64, where settle.Places) (settle.Places, error) {
	b := c.world.brokers
	return retry(ctx, c.caller(), func() (settle.Places, error) {
		open := settle.Places{Partitions: settle.Partitions{}}
		for _, place := range places(where.Partitions) {
			if !b.led(place) {
				return open, errNoLeader
			}
			if b.partition(place).open[producer] != nil {
				open.Partitions.Add(place.Topic, place.Partition)
			}
		}
		if where.Group != "" {
			if !b.led(offsetsPlace) {
				return open, errNoLeader
			}
			if len(b.group.pending[producer]) > 0 {
				open.Group = where.Group
			}
		}
		return open, nil
	})
}

// Passed implements settle.Brokers.
func (c settling) Passed(ctx context.Context, sent settle.Sent) (bool, error) {
	b := c.world.brokers
	return retry(ctx, c.caller(), func() (bool, error) {
		written := settle.Partitions{}
		for topic, partitions := range sent.Last {
			for number := range partitions {
				written.Add(topic, number)
			}
		}
		for _, place := range places(written) {
			if !b.led(place) {
				return false, errNoLeader
			}
			if b.partition(place).lastStable() <= sent.Last[place.Topic][place.Partition] {
				return false, nil
			}
		}
		for _, place := range places(sent.Offsets) {
			if !b.led(offsetsPlace) {
				return false, errNoLeader
			}
			if b.group.unstable(place) {
				return false, nil
			}
		}
		return true, nil
	})
}

// Add implements settle.Brokers.
func (c settling) Add(ctx context.Context, who settle.Producer, where settle.Places) error {
	_, err := once(ctx, c.caller(), func() (bool, error) {
		return true, c.world.brokers.addPlaces(c.id, producerKey{pid: who.ID, epoch: who.Epoch}, places(where.Partitions), where.Group != "")
	})
	return err
}

// End implements settle.Brokers.
func (c settling) End(ctx context.Context, who settle.Producer, commit bool) error {
	how := aborted
	if commit {
		how = committed
	}
	_, err := c.endTxn(ctx, producerKey{pid: who.ID, epoch: who.Epoch}, how, false)
	return err
}

// EndAgain implements settle.Brokers.
func (c settling) EndAgain(ctx context.Context, who settle.Producer, plainly bool) error {
	if plainly {
		return c.End(ctx, who, true)
	}
	_, err := c.endTxn(ctx, producerKey{pid: who.ID, epoch: who.Epoch}, committed, true)
	return err
}

// Pause implements settle.Brokers.
func (c settling) Pause(ctx context.Context, d time.Duration) error {
	c.caller().sleep(d)
	return ctx.Err()
}

// places lists partitions, always in one order: a seed is a run.
func places(of settle.Partitions) (all []commit.Place) {
	for _, topic := range slices.Sorted(maps.Keys(of)) {
		for _, number := range slices.Sorted(maps.Keys(of[topic])) {
			all = append(all, commit.Place{Topic: topic, Partition: number})
		}
	}
	return all
}

// clientWatch is what log.TxnProducer has of a watch.
type clientWatch struct {
	done   bool
	err    error
	cancel context.CancelFunc
}

func (c *client) beginWatch(sent settle.Sent) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &clientWatch{cancel: cancel}
	c.watch = w
	c.world.schedule.spawn(c.process, func(*coroutine) {
		w.err = c.ledger.Watch(ctx, sent)
		w.done = true
		cancel()
	})
}

// endWatch waits for what it has found, as long as a request may take.
func (c *client) endWatch() error {
	if c.watch == nil {
		return nil
	}
	co := c.caller()
	for deadline := co.schedule.now + c.world.profile.requestTimeout; !c.watch.done; co.sleep(100 * time.Microsecond) {
		if co.schedule.now > deadline {
			c.watch.cancel()
		}
	}
	err := c.watch.err
	c.watch = nil
	return err
}

func (c *client) dropWatch() {
	if c.watch != nil {
		c.watch.cancel()
		_ = c.endWatch()
	}
}
