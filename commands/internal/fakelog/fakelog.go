// Package fakelog is a log in memory with transactions, for tests: it can be taken down, and lets the markers of one
// transaction reach its partitions one after the other, as real brokers do. Only tests import it.
package fakelog

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/commands/internal/follow"
)

// ErrDown is what every call gives while the log is down.
var ErrDown = errors.New("fakelog: the log is down")

// Log is the log. All methods are safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	topics  map[string]*topic
	groups  map[string]map[follow.Partition]int64
	down    bool
	changed chan struct{} // closed and replaced at every change
	marking func()        // called before each marker, without mu
}

type topic struct {
	id         [16]byte
	partitions []*partition
}

type partition struct {
	start   int64 // first offset that is still there
	decided int64 // at most the last stable offset
	records []record
}

type record struct {
	follow.Record
	txn *Txn // nil for a record outside of any transaction
}

// New returns an empty log.
func New() *Log {
	return &Log{topics: map[string]*topic{}, groups: map[string]map[follow.Partition]int64{}, changed: make(chan struct{})}
}

// Marking sets a function that runs before each marker of a transaction.
func (l *Log) Marking(before func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marking = before
}

// CreateTopic creates a topic, or creates it anew under another id and empty.
func (l *Log) CreateTopic(name string, partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	created := &topic{}
	if old := l.topics[name]; old != nil {
		created.id = old.id
	}
	created.id[0]++
	copy(created.id[1:], name)
	for range partitions {
		created.partitions = append(created.partitions, &partition{})
	}
	l.topics[name] = created
	l.change()
}

// SetDown makes every call fail, or work again.
func (l *Log) SetDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	l.change()
}

// Truncate removes what lies below an offset.
func (l *Log) Truncate(name string, p int32, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[name].partitions[p].start = offset
}

// Append writes a record outside of any transaction.
func (l *Log) Append(r follow.Record) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(r, nil)
}

func (l *Log) append(r follow.Record, txn *Txn) (int64, error) {
	if l.down {
		return 0, ErrDown
	}
	t := l.topics[r.Topic]
	if t == nil || int(r.Partition) >= len(t.partitions) {
		return 0, errors.New("fakelog: no such partition")
	}
	p := t.partitions[r.Partition]
	r.Offset = int64(len(p.records))
	r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	p.records = append(p.records, record{Record: r, txn: txn})
	l.change()
	return r.Offset, nil
}

func (l *Log) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Partitions returns a topic's number of partitions.
func (l *Log) Partitions(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.topics[name].partitions)
}

// All returns the committed records of a topic, partition after partition.
func (l *Log) All(name string) []follow.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []follow.Record
	for _, p := range l.topics[name].partitions {
		for _, r := range p.records[p.start:p.stable()] {
			if !r.Control && (r.txn == nil || r.txn.state == committed) {
				all = append(all, r.Record)
			}
		}
	}
	return all
}

// stable is the last stable offset: the first record of a transaction whose marker is not here yet.
func (p *partition) stable() int64 {
	for ; p.decided < int64(len(p.records)); p.decided++ {
		if r := p.records[p.decided]; r.txn != nil && !r.Control && !r.txn.marked[p] {
			break
		}
	}
	return p.decided
}

type txnState uint8

const (
	open txnState = iota
	committed
	aborted
)

// Txn is one transaction; it belongs to one goroutine.
type Txn struct {
	log     *Log
	state   txnState            // guarded by log.mu
	marked  map[*partition]bool // guarded by log.mu
	touched []follow.Partition
	offsets map[string]map[follow.Partition]int64
}

// Begin begins a transaction.
func (l *Log) Begin() *Txn {
	return &Txn{log: l, marked: map[*partition]bool{}, offsets: map[string]map[follow.Partition]int64{}}
}

// Append writes a record in the transaction.
func (t *Txn) Append(r follow.Record) (int64, error) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	offset, err := t.log.append(r, t)
	if at := (follow.Partition{Topic: r.Topic, Partition: r.Partition}); err == nil && !slices.Contains(t.touched, at) {
		t.touched = append(t.touched, at)
	}
	return offset, err
}

// CommitOffset has the transaction commit a group's offset.
func (t *Txn) CommitOffset(group, topic string, p int32, offset int64) {
	if t.offsets[group] == nil {
		t.offsets[group] = map[follow.Partition]int64{}
	}
	t.offsets[group][follow.Partition{Topic: topic, Partition: p}] = offset
}

// Commit makes the transaction's records visible: the group's offsets first, as the worst case has it, then partition
// after partition.
func (t *Txn) Commit() { t.end(committed) }

// Abort drops them.
func (t *Txn) Abort() { t.end(aborted) }

func (t *Txn) end(state txnState) {
	l := t.log
	l.mu.Lock()
	t.state = state
	if state == committed {
		for group, offsets := range t.offsets {
			if l.groups[group] == nil {
				l.groups[group] = map[follow.Partition]int64{}
			}
			maps.Copy(l.groups[group], offsets)
		}
	}
	l.change()
	marking := l.marking
	l.mu.Unlock()
	for _, at := range t.touched {
		if marking != nil {
			marking()
		}
		l.mu.Lock()
		p := l.topics[at.Topic].partitions[at.Partition]
		p.records = append(p.records, record{txn: t, Record: follow.Record{
			Topic: at.Topic, Partition: at.Partition, Offset: int64(len(p.records)), Control: true,
		}})
		t.marked[p] = true
		l.change()
		l.mu.Unlock()
	}
}
