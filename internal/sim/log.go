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
	number   int
	fate     fate
	first    map[commit.Place]int // index of its first entry
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
	settled  bool          // the marker is written: the entry is committed or aborted for readers
	gone     bool          // compaction has removed it
	appended time.Duration // since 1970
}

// visible tells whether a read_committed reader gets the entry, once it may get there.
func (e *entry) visible() bool {
	return !e.gone && !e.marker && (e.tx == nil || e.tx.fate == committed)
}

// partition is one partition of a topic. An entry's index is its offset.
type partition struct {
	place   commit.Place
	entries []entry
	stable  int                   // the last stable offset, as far as it was looked for
	written map[producerKey]batch // the last batch of each producer
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
	for p.stable < len(p.entries) && p.entries[p.stable].settled {
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
	e.settled = e.tx == nil || e.marker
	if tx := e.tx; tx != nil && !e.marker {
		if _, ok := tx.first[p.place]; !ok {
			tx.first[p.place] = len(p.entries)
		}
	}
	p.entries = append(p.entries, e)
	return e.record.Offset
}

// mark writes a transaction's marker.
func (p *partition) mark(tx *transaction, now time.Duration) {
	for i := tx.first[p.place]; i < len(p.entries); i++ {
		if p.entries[i].tx == tx {
			p.entries[i].settled = true
		}
	}
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
	group      *group
	observe    *oracle
}

func newBrokers(s *schedule, p *profile) *brokers {
	b := &brokers{schedule: s, profile: p, partitions: map[commit.Place]*partition{}, ids: map[string]*transactional{}, nextPID: 1000}
	b.group = newGroup(b)
	return b
}

func (b *brokers) createTopic(name string, partitions int32) {
	for number := range partitions {
		place := commit.Place{Topic: name, Partition: number}
		b.partitions[place] = &partition{place: place, written: map[producerKey]batch{}}
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

// compact does to a changelog partition what a log cleaner does: of records below the last stable offset and appended longer
// ago than lag, those go that a later record of their key supersedes, and aborted ones; tombstones go when they are older
// than retention. Offsets stay.
func (p *partition) compact(now, lag, retention time.Duration) (removed int) {
	stable := p.lastStable()
	latest := map[string]int{}
	for i := range p.entries[:stable] {
		if e := &p.entries[i]; !e.marker && (e.tx == nil || e.tx.fate == committed) {
			latest[string(e.record.Key)] = i
		}
	}
	for i := range p.entries[:stable] {
		e := &p.entries[i]
		if e.gone || e.marker || now-e.appended < lag {
			continue
		}
		superseded := e.tx != nil && e.tx.fate == aborted || latest[string(e.record.Key)] != i
		if superseded || e.record.Value == nil && now-e.appended > retention {
			e.gone = true
			removed++
		}
	}
	return removed
}
