package sim

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/task"
)

// fate is what becomes of a transaction, as its coordinator decides it.
type fate byte

const (
	undecided fate = iota
	committed
	aborted
)

// transaction is one transaction as the brokers know it. Its markers reach the partitions at different times.
type transaction struct {
	id       string
	pid      int64
	number   int
	fate     fate
	parts    map[commit.Place]bool // that take part
	offsets  map[commit.Place]stableOffset
	group    bool   // the group's partition takes part
	missing  int    // markers still to be written
	below    string // why it must not be committed any more
	deadline time.Duration
}

// entry is one offset of a partition: a record, or a marker, whose key and value are what Kafka writes there.
type entry struct {
	record   task.Record
	marker   bool
	tx       *transaction  // nil for a record outside of transactions
	fate     fate          // for readers, by the marker that was written; undecided until there is one
	gone     bool          // compaction has removed it
	appended time.Duration // since 1970
}

// visible tells whether a read_committed reader gets the entry, once it may get there.
func (e *entry) visible() bool { return !e.gone && e.counts() }

// counts tells whether the entry is a record that is committed: by a marker, which may be that of another transaction, or,
// until there is one, by the coordinator's decision.
func (e *entry) counts() bool {
	switch {
	case e.marker:
		return false
	case e.tx == nil || e.fate != undecided:
		return e.fate != aborted
	}
	return e.tx.fate == committed
}

// settled tells whether a reader may get beyond the entry.
func (e *entry) settled() bool { return e.marker || e.tx == nil || e.fate != undecided }

// partition is one partition of a topic. An entry's index is its offset.
type partition struct {
	place   commit.Place
	entries []entry
	stable  int                   // the last stable offset, as far as it was looked for
	written map[producerKey]batch // the last batch of each producer
	open    map[int64]*openTx     // of each producer id, what no marker has ended
	epochs  map[int64]int16       // of each producer id, the last that was written under
}

// openTx is a producer's open transaction by its partition's own account: a coordinator may have done with it.
type openTx struct {
	tx    *transaction // that it began with
	epoch int16        // under which records are taken without asking the coordinator
	first int          // index of its first entry
}

type producerKey struct {
	pid   int64
	epoch int16
}

type batch struct {
	next int // sequence number after it
	base int64
}

// end returns the high-water mark.
func (p *partition) end() int64 { return int64(len(p.entries)) }

// lastStable returns the last stable offset: below it every transaction is decided and marked.
func (p *partition) lastStable() int64 {
	for p.stable < len(p.entries) && p.entries[p.stable].settled() {
		p.stable++
	}
	return int64(p.stable)
}

// fetch returns up to most entries below the last stable offset, markers included, and the offset to go on at.
func (p *partition) fetch(from int64, most int) (entries []*entry, next int64) {
	stable := p.lastStable()
	for next = from; next < stable && len(entries) < most; next++ {
		e := &p.entries[next]
		if e.marker && !e.gone || e.visible() {
			entries = append(entries, e)
		}
	}
	return entries, next
}

func (p *partition) append(e entry, now time.Duration) int64 {
	e.record.Topic, e.record.Partition, e.record.Offset = p.place.Topic, p.place.Partition, p.end()
	e.appended = now
	p.entries = append(p.entries, e)
	return e.record.Offset
}

// take appends a record of a transaction, written under an epoch.
func (p *partition) take(record task.Record, tx *transaction, epoch int16, now time.Duration) {
	open := p.open[tx.pid]
	if open == nil {
		open = &openTx{tx: tx, first: len(p.entries)}
		p.open[tx.pid] = open
	}
	open.epoch, p.epochs[tx.pid] = max(open.epoch, epoch), max(p.epochs[tx.pid], epoch)
	p.append(entry{record: record, tx: tx}, now)
}

// mark writes a transaction's marker. It decides all that its producer has written since its last marker.
func (p *partition) mark(tx *transaction, epoch int16, now time.Duration) {
	if open := p.open[tx.pid]; open != nil {
		for i := open.first; i < len(p.entries); i++ {
			if e := &p.entries[i]; e.tx != nil && e.tx.pid == tx.pid && !e.settled() {
				e.fate = tx.fate
			}
		}
		delete(p.open, tx.pid)
	}
	p.epochs[tx.pid] = max(p.epochs[tx.pid], epoch)
	// Key: version 0, type 0 (abort) or 1 (commit). Value: version 0, coordinator epoch 7.
	kind := byte(0)
	if tx.fate == committed {
		kind = 1
	}
	p.append(entry{record: task.Record{Key: []byte{0, 0, 0, kind}, Value: []byte{0, 0, 0, 0, 0, 7}}, marker: true}, now)
}

// brokers are the log: topics, transaction coordinator and group coordinator. They do not fail; the network to them does.
type brokers struct {
	schedule   *schedule
	profile    *profile
	partitions map[commit.Place]*partition
	order      []commit.Place // of the partitions
	ids        map[string]*transactional
	idNames    []string
	nextPID    int64
	txCount    int
	leftOut    int // markers that were never written
	group      *group
	leaderless map[commit.Place]time.Duration // until when a partition has no leader
	observe    *oracle
}

func newBrokers(s *schedule, p *profile) *brokers {
	b := &brokers{schedule: s, profile: p, partitions: map[commit.Place]*partition{}, ids: map[string]*transactional{}, nextPID: 1000, leaderless: map[commit.Place]time.Duration{}}
	b.group = newGroup(b)
	return b
}

func (b *brokers) createTopic(name string, partitions int32) {
	for number := range partitions {
		place := commit.Place{Topic: name, Partition: number}
		b.partitions[place] = &partition{place: place, written: map[producerKey]batch{}, open: map[int64]*openTx{}, epochs: map[int64]int16{}}
		b.order = append(b.order, place)
	}
}

func (b *brokers) partition(place commit.Place) *partition {
	p, ok := b.partitions[place]
	if !ok {
		panic(fmt.Sprintf("there is no partition %v", place))
	}
	return p
}

// offsetsPlace is the partition of the group's offsets.
var offsetsPlace = commit.Place{Topic: "__consumer_offsets"}

// errNoLeader is what is answered of a partition that has no leader: come again.
var errNoLeader = fmt.Errorf("the partition has no leader")

// led tells whether a partition has a leader.
func (b *brokers) led(place commit.Place) bool { return b.leaderless[place] <= b.schedule.now }

// fence takes the leaders of some partitions away for a while.
func (b *brokers) fence(places []commit.Place) {
	s, without := b.schedule, []commit.Place{}
	until := s.now + s.between(10*time.Millisecond, 4*time.Second)
	for _, place := range places {
		if s.chance(0.5) {
			b.leaderless[place] = max(b.leaderless[place], until)
			without = append(without, place)
		}
	}
	s.note("broker: %v have no leader until %s", without, until)
}

// compact does to a changelog partition what a log cleaner does: of records below the last stable offset and appended longer
// ago than lag, those go that a later record of their key supersedes, and aborted ones; tombstones go when they are older
// than retention. Offsets stay.
func (p *partition) compact(now, lag, retention time.Duration) (removed int) {
	stable := p.lastStable()
	latest := map[string]int{}
	for i := range p.entries[:stable] {
		if e := &p.entries[i]; e.counts() {
			latest[string(e.record.Key)] = i
		}
	}
	for i := range p.entries[:stable] {
		e := &p.entries[i]
		if e.gone || e.marker || now-e.appended < lag {
			continue
		}
		superseded := !e.counts() || latest[string(e.record.Key)] != i
		if superseded || e.record.Value == nil && now-e.appended > retention {
			e.gone = true
			removed++
		}
	}
	return removed
}
