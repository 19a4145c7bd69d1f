package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/settle"
	"github.com/tidemill/tidemill/internal/task"
)

// transactional is a transactional id at its coordinator (KIP-98; KIP-890 where the profile has transaction.version 2: the
// epoch moves on with each transaction, and partitions and groups are added by what is written to them).
type transactional struct {
	name    string
	pid     int64
	epoch   int16
	timeout time.Duration
	open    *transaction // ongoing, or decided and not marked everywhere
	// ended and endedEpoch say how the last transaction ended and under which epoch that was asked for.
	ended      fate
	endedEpoch int16
}

// errBusy is what coordinators answer while they are busy with the same transaction: come again.
var errBusy = fmt.Errorf("concurrent transactions")

func fencedProducer(t *transactional, epoch int16) error {
	return fmt.Errorf("%w: epoch %d of %s, now %d", log.ErrProducerFenced, epoch, t.name, t.epoch)
}

// initProducerID makes the caller the only producer of an id and ends what is open.
func (b *brokers) initProducerID(name string, timeout time.Duration) (producerKey, error) {
	t := b.ids[name]
	if t == nil {
		b.nextPID++
		t = &transactional{name: name, pid: b.nextPID, epoch: -1}
		b.ids[name] = t
		b.idNames = append(b.idNames, name)
		slices.Sort(b.idNames)
	}
	if t.open != nil {
		if t.open.fate == undecided {
			t.epoch++
			b.decide(t, aborted, -1)
		}
		return producerKey{}, errBusy
	}
	t.epoch++
	t.timeout, t.ended = timeout, undecided
	return producerKey{pid: t.pid, epoch: t.epoch}, nil
}

// current returns the id if the epoch is its present one.
func (b *brokers) current(name string, key producerKey) (*transactional, error) {
	t := b.ids[name]
	if t == nil || t.pid != key.pid || t.epoch != key.epoch {
		if t == nil {
			return nil, fmt.Errorf("%w: no such id %s", log.ErrProducerFenced, name)
		}
		return nil, fencedProducer(t, key.epoch)
	}
	return t, nil
}

// begin returns the id's open transaction, beginning one if there is none.
func (b *brokers) begin(t *transactional) (*transaction, error) {
	if t.open != nil {
		if t.open.fate != undecided {
			return nil, errBusy
		}
		return t.open, nil
	}
	b.txCount++
	tx := &transaction{
		id: t.name, pid: t.pid, number: b.txCount, parts: map[commit.Place]bool{}, offsets: map[commit.Place]stableOffset{},
		deadline: b.schedule.now + t.timeout,
	}
	t.open = tx
	b.schedule.after(t.timeout, func() {
		if t.open == tx && tx.fate == undecided {
			b.schedule.note("broker: transaction %d of %s has timed out", tx.number, t.name)
			t.epoch++
			b.decide(t, aborted, -1)
		}
	})
	return tx, nil
}

// produce appends records in a transaction, once for each sequence number.
func (b *brokers) produce(name string, key producerKey, place commit.Place, sequence int, records []task.Record) (int64, error) {
	p := b.partition(place)
	if !b.led(place) {
		return 0, errNoLeader
	}
	tx, err := b.takesPart(name, key, p)
	if err != nil {
		return 0, err
	}
	last, ok := p.written[key]
	switch {
	case ok && sequence < last.next:
		return last.base, nil // a duplicate; if it is asked for again, of the last batch
	case sequence != last.next:
		return 0, fmt.Errorf("%w: a batch is missing before sequence %d", log.ErrProducerFenced, sequence)
	}
	base := p.end()
	for _, record := range records {
		p.take(record, tx, key.epoch, b.observe.world.appendTime())
		b.observe.produced(p.entries[len(p.entries)-1].record)
	}
	p.written[key] = batch{next: sequence + len(records), base: base}
	return base, nil
}

// takesPart returns the transaction that records are part of, and adds the partition to it. Where the partition has one open
// under the same epoch, nobody asks the coordinator whether it goes on (KIP-890 asks with the first record).
func (b *brokers) takesPart(name string, key producerKey, p *partition) (*transaction, error) {
	t, err := b.current(name, key)
	if err != nil {
		if open := p.open[key.pid]; open != nil && open.epoch == key.epoch {
			b.schedule.note("broker: late records of %s are taken for part of transaction %d", name, open.tx.number)
			return open.tx, nil
		}
		return nil, err
	}
	if key.epoch < p.epochs[key.pid] {
		return nil, fencedProducer(t, key.epoch)
	}
	tx, err := b.begin(t)
	if err == nil {
		tx.parts[p.place] = true
	}
	return tx, err
}

// addPlaces adds partitions, and perhaps the group, to a transaction, with nothing in it.
func (b *brokers) addPlaces(name string, key producerKey, places []commit.Place, withGroup bool) error {
	t, err := b.current(name, key)
	if err != nil {
		return err
	}
	tx, err := b.begin(t)
	if err != nil {
		return err
	}
	for _, place := range places {
		tx.parts[place] = true
	}
	tx.group = tx.group || withGroup
	return nil
}

// txnOffsetCommit adds offsets to a transaction. Where the broker does not add the group by itself and nobody has added it,
// the offsets stay pending for ever.
func (b *brokers) txnOffsetCommit(name string, key producerKey, member log.Member, offsets map[commit.Place]stableOffset) error {
	t, err := b.current(name, key)
	if err != nil {
		return err
	}
	if !b.led(offsetsPlace) {
		return errNoLeader
	}
	if err := b.group.validate(member); err != nil {
		return err
	}
	tx, err := b.begin(t)
	if err != nil {
		return err
	}
	tx.group = tx.group || b.profile.implicit
	b.group.records++
	for place, at := range offsets {
		at.order = b.group.records
		tx.offsets[place] = at
		b.group.pend(t.pid, place, at)
	}
	return nil
}

// endTxn decides a transaction, moving the epoch on or not. Asked again it gives the same answer.
func (b *brokers) endTxn(name string, key producerKey, how fate, bump bool) (producerKey, error) {
	t := b.ids[name]
	if t == nil || t.pid != key.pid {
		return key, fmt.Errorf("%w: no such id %s", log.ErrProducerFenced, name)
	}
	if t.ended == how && t.endedEpoch == key.epoch && (t.open == nil || t.open.fate != undecided) {
		return producerKey{pid: t.pid, epoch: t.epoch}, nil
	}
	if t.epoch != key.epoch {
		return key, fencedProducer(t, key.epoch)
	}
	if !bump && t.open == nil && t.ended == how {
		return key, nil // older clients are answered well
	}
	switch {
	case t.open != nil && t.open.fate == undecided:
		asked := t.epoch
		if bump {
			t.epoch++
		}
		b.decide(t, how, asked)
	case t.open != nil:
		return key, errBusy
	default:
		return key, fmt.Errorf("%w: no transaction of %s is open", log.ErrProducerFenced, name)
	}
	return producerKey{pid: t.pid, epoch: t.epoch}, nil
}

// decide writes down what becomes of the open transaction; its markers follow, each in its time.
func (b *brokers) decide(t *transactional, how fate, asked int16) {
	tx := t.open
	tx.fate, t.ended, t.endedEpoch = how, how, asked
	b.schedule.note("broker: transaction %d of %s is %s", tx.number, t.name, []string{"undecided", "committed", "aborted"}[how])
	landed := func() {
		if tx.missing--; tx.missing == 0 {
			t.open = nil
			b.observe.complete(tx)
		}
	}
	if how == committed && tx.below != "" {
		b.schedule.fail("transaction %d of %s is committed, while the store of %s", tx.number, t.name, tx.below)
	}
	if !b.observe.world.healed && b.schedule.chance(b.profile.fencedAtEnd) {
		b.fence(append([]commit.Place{offsetsPlace}, b.order...))
	}
	epoch := t.epoch
	tx.missing = 1
	for _, place := range b.order {
		if tx.parts[place] {
			tx.missing++
			b.sendMarker(tx, place, func() { b.partition(place).mark(tx, epoch, b.observe.world.appendTime()) }, landed)
		}
	}
	if tx.group {
		tx.missing++
		b.sendMarker(tx, offsetsPlace, func() { b.group.settle(tx) }, landed)
	}
	b.schedule.after(0, landed)
}

// sendMarker writes a marker in its time; or never, where the partition has no leader and the brokers are of those that take it
// for deleted then (KAFKA-20734).
func (b *brokers) sendMarker(tx *transaction, place commit.Place, write, landed func()) {
	if !b.led(place) && b.profile.leavesOut {
		b.schedule.note("broker: the marker of transaction %d is left out on %v", tx.number, place)
		b.leftOut++
		b.schedule.after(0, landed)
		return
	}
	b.schedule.after(b.markerDelay(), func() {
		if !b.led(place) {
			b.sendMarker(tx, place, write, landed)
			return
		}
		write()
		landed()
	})
}

func (b *brokers) markerDelay() time.Duration {
	if !b.observe.world.healed && b.schedule.chance(b.profile.lateMarker) {
		return b.schedule.between(20*time.Millisecond, 2*time.Second)
	}
	return b.schedule.between(100*time.Microsecond, 5*time.Millisecond)
}

// last says what is known of an id's last transaction.
func (b *brokers) last(name string) settle.Last {
	t := b.ids[name]
	if t == nil {
		return settle.Last{}
	}
	return settle.Last{ProducerID: t.pid, Committed: t.open == nil && t.ended == committed, Open: t.open != nil}
}

// openAnywhere returns the ids of transactions that are not complete, by the coordinator's or a partition's account; or all.
func (b *brokers) openAnywhere(all bool) (open []string, err error) {
	if !b.led(offsetsPlace) {
		return nil, errNoLeader
	}
	producers := map[int64]bool{}
	for pid := range b.group.pending {
		producers[pid] = true
	}
	for _, place := range b.order {
		if !b.led(place) {
			return nil, errNoLeader
		}
		for pid := range b.partition(place).open {
			producers[pid] = true
		}
	}
	for _, name := range b.idNames {
		if t := b.ids[name]; all || t.open != nil || producers[t.pid] {
			open = append(open, name)
		}
	}
	return open, nil
}

// openTransactions returns the ids of transactions that are not complete.
func (b *brokers) openTransactions() (open []string) {
	for _, name := range b.idNames {
		if b.ids[name].open != nil {
			open = append(open, name)
		}
	}
	return open
}
