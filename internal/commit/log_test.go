package commit_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
)

// fakeLog is a log with one consumer group. Its methods are safe for concurrent use.
type fakeLog struct {
	mu         sync.Mutex
	trace      []string
	partitions map[commit.Place][]entry
	offsets    map[commit.Place]commit.StoredOffset
	generation int32
	commits    int // transactions whose end was asked for

	// plan, if set, says what becomes of the n-th transaction, from 1.
	plan func(n int) fate
	// recovering, if set, is what others do while a producer recovers. The log is locked.
	recovering func()
}

// entry is one record of a partition.
type entry struct {
	record   task.Record
	producer string
	state    string // "open", "committed" or "aborted"
}

// fate is what becomes of a transaction. The zero fate commits it.
type fate struct {
	wait    <-chan struct{} // before anything happens
	fails   bool            // the outcome is Aborted, with err
	unknown bool            // the answer is lost: happens says what is true
	happens bool
	// meanwhile, if set, is what others do before the producer learns that there is no answer. The log is locked.
	meanwhile func()
	torn      int32 // if unknown and above 0, the offsets of partitions below it alone are committed
	err       error
}

func newFakeLog() *fakeLog {
	return &fakeLog{
		partitions: map[commit.Place][]entry{}, offsets: map[commit.Place]commit.StoredOffset{}, generation: 1,
	}
}

func (l *fakeLog) note(format string, args ...any) {
	l.trace = append(l.trace, fmt.Sprintf(format, args...))
}

// traced returns what has happened so far, one a line.
func (l *fakeLog) traced() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.trace, "\n")
}

// committed returns the committed records of a topic as "key=value", partition after partition.
func (l *fakeLog) committed(topic string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var places []commit.Place
	for place := range l.partitions {
		if place.Topic == topic {
			places = append(places, place)
		}
	}
	slices.SortFunc(places, func(a, b commit.Place) int { return int(a.Partition - b.Partition) })
	var found []string
	for _, place := range places {
		for _, e := range l.partitions[place] {
			if e.state == "committed" {
				found = append(found, fmt.Sprintf("%s=%s", e.record.Key, e.record.Value))
			}
		}
	}
	return found
}

func (l *fakeLog) stored(topic string, partition int32) commit.StoredOffset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsets[commit.Place{Topic: topic, Partition: partition}]
}

// Committed implements commit.Offsets.
func (l *fakeLog) Committed(_ context.Context, _ string, topics []string) (map[commit.Place]commit.StoredOffset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note("read the stable offsets")
	found := map[commit.Place]commit.StoredOffset{}
	for place, at := range l.offsets {
		if slices.Contains(topics, place.Topic) {
			found[place] = at
		}
	}
	return found, nil
}

// Current implements commit.Offsets.
func (l *fakeLog) Current(_ context.Context, member commit.Member) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if member.Generation != l.generation {
		return fmt.Errorf("%w: generation %d", commit.ErrFenced, l.generation)
	}
	return nil
}

// fakeProducer is a transactional producer.
type fakeProducer struct {
	t     testing.TB
	log   *fakeLog
	name  string
	open  bool
	acked []func() // to be called at Commit
}

func producers(t testing.TB, log *fakeLog, n int) []commit.Producer {
	var all []commit.Producer
	for i := range n {
		all = append(all, &fakeProducer{t: t, log: log, name: fmt.Sprint("p", i)})
	}
	return all
}

// Begin implements commit.Producer.
func (p *fakeProducer) Begin(context.Context) error {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	if p.open {
		p.t.Errorf("%s begins a transaction in a transaction", p.name)
	}
	p.open, p.acked = true, nil
	p.log.note("%s begin", p.name)
	return nil
}

// Send implements commit.Producer. It copies: the layer's memory serves again after the commit.
func (p *fakeProducer) Send(output *graph.Output, done func(int64)) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	place := commit.Place{Topic: output.Topic, Partition: max(output.Partition, 0)}
	offset := int64(len(p.log.partitions[place]))
	record := task.Record{
		Topic: output.Topic, Partition: place.Partition, Offset: offset, Timestamp: output.Timestamp,
		Key: bytes.Clone(output.Key), Value: bytes.Clone(output.Value),
	}
	for _, header := range output.Headers {
		record.Headers = append(record.Headers, graph.Header{Key: header.Key, Value: bytes.Clone(header.Value)})
	}
	p.log.partitions[place] = append(p.log.partitions[place], entry{record: record, producer: p.name, state: "open"})
	p.log.note("%s send %s %s=%s", p.name, output.Topic, output.Key, output.Value)
	if done != nil {
		p.acked = append(p.acked, func() { done(offset) })
	}
}

// Commit implements commit.Producer.
func (p *fakeProducer) Commit(ctx context.Context, member commit.Member, offsets []commit.Offset) (commit.Outcome, error) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.commits++
	var what fate
	if p.log.plan != nil {
		what = p.log.plan(p.log.commits)
	}
	for _, o := range offsets {
		p.log.note("%s offset %s/%d=%d %s", p.name, o.Topic, o.Partition, o.Offset, o.Metadata)
	}
	if what.wait != nil {
		p.log.mu.Unlock()
		select {
		case <-what.wait:
		case <-ctx.Done():
			what.fails, what.err = true, ctx.Err()
		}
		p.log.mu.Lock()
	}
	for _, acknowledge := range p.acked {
		acknowledge()
	}
	switch {
	case member.Generation != p.log.generation:
		what.fails, what.err = true, commit.ErrFenced
		fallthrough
	case what.fails:
		p.end("aborted")
		return commit.Aborted, what.err
	case what.unknown && !what.happens:
		for _, o := range offsets {
			if o.Partition < what.torn {
				p.log.set(o)
			}
		}
		p.open = false // with its records undecided
		if what.meanwhile != nil {
			what.meanwhile()
		}
		p.log.note("%s no answer", p.name)
		return commit.Unknown, what.err
	}
	for _, o := range offsets {
		p.log.set(o)
	}
	p.end("committed")
	if what.unknown {
		p.log.note("%s no answer", p.name)
		return commit.Unknown, what.err
	}
	return commit.Committed, nil
}

func (l *fakeLog) set(o commit.Offset) {
	parsed, err := meta.ParseOffset(o.Metadata)
	l.offsets[commit.Place{Topic: o.Topic, Partition: o.Partition}] = commit.StoredOffset{Next: o.Offset, Meta: parsed, Foreign: err != nil}
}

// end decides the producer's open records. The log is locked.
func (p *fakeProducer) end(state string) {
	p.open = false
	for place, entries := range p.log.partitions {
		for i := range entries {
			if entries[i].producer == p.name && entries[i].state == "open" {
				p.log.partitions[place][i].state = state
			}
		}
	}
	p.log.note("%s %s", p.name, state)
}

// Recover implements commit.Producer.
func (p *fakeProducer) Recover(context.Context) error {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.note("%s recover", p.name)
	p.end("aborted")
	if p.log.recovering != nil {
		p.log.recovering()
	}
	return nil
}
