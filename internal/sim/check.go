package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
)

// oracle holds what must come out against what did.
type oracle struct {
	world  *world
	models []*expectation // by partition
}

// expectation is what must follow from the commands of one partition.
type expectation struct {
	model Model
	// after holds, for each number of commands processed, what must be there then.
	after []point
	// outputs are all records that must follow, by topic; each knows the command's offset.
	outputs map[string][]expected
	next    int64 // the committed offset, as last seen
	last    meta.Offset
}

type point struct {
	rows  map[string]string
	count map[string]int // outputs by topic
}

type expected struct {
	text   string
	offset int64
}

func newOracle(w *world) *oracle {
	o := &oracle{world: w}
	for number := range w.profile.partitions {
		e := &expectation{model: w.workload.Model(number, w.profile.partitions), outputs: map[string][]expected{}}
		e.after = append(e.after, point{rows: map[string]string{}, count: map[string]int{}})
		o.models = append(o.models, e)
	}
	return o
}

// command takes a command that was written.
func (o *oracle) command(record task.Record) {
	e := o.models[record.Partition]
	for _, output := range e.model.Apply(record) {
		e.outputs[output.Topic] = append(e.outputs[output.Topic], expected{text: output.Text, offset: record.Offset})
	}
	at := point{rows: maps.Clone(e.model.Rows()), count: map[string]int{}}
	for topic, all := range e.outputs {
		at.count[topic] = len(all)
	}
	e.after = append(e.after, at)
}

// produced checks a record as it is written, whatever becomes of its transaction: in each attempt it is the same.
func (o *oracle) produced(record task.Record) {
	all, ok := o.models[record.Partition].outputs[record.Topic]
	if !ok && !slices.Contains(o.world.workload.Outputs(), record.Topic) {
		return
	}
	text := o.world.workload.Text(record)
	if !slices.ContainsFunc(all, func(e expected) bool { return e.text == text }) {
		o.world.schedule.fail("%s/%d: %s is written, which follows from no command", record.Topic, record.Partition, text)
	}
}

// offset checks a committed offset: it never goes back, nor does the sequence, nor the stream time.
func (o *oracle) offset(place commit.Place, at stableOffset) {
	e := o.models[place.Partition]
	m, err := meta.ParseOffset(at.metadata)
	switch {
	case err != nil:
		o.world.schedule.fail("%v: metadata %q: %v", place, at.metadata, err)
	case at.next < e.next, m.Sequence < e.last.Sequence, m.StreamTime < e.last.StreamTime:
		o.world.schedule.fail("%v: committed %d %+v after %d %+v", place, at.next, m, e.next, e.last)
	case at.next > o.world.brokers.partition(place).end():
		o.world.schedule.fail("%v: committed %d, beyond the end", place, at.next)
	}
	e.next, e.last = at.next, m
}

// complete checks the partitions of a transaction that has ended everywhere.
func (o *oracle) complete(tx *transaction) {
	for number := range o.world.profile.partitions {
		if _, ok := tx.offsets[commit.Place{Topic: o.world.input(), Partition: number}]; ok {
			o.check(number)
		}
	}
}

// check compares what read_committed readers of a partition get with the model: always a part of it from the beginning, and
// where no transaction is under way, just what follows from the committed commands.
func (o *oracle) check(number int32) {
	w, e := o.world, o.models[number]
	input := commit.Place{Topic: w.input(), Partition: number}
	still := !w.brokers.group.unstable(input)
	for _, topic := range append(w.workload.Outputs(), w.changelog()) {
		p := w.brokers.partition(commit.Place{Topic: topic, Partition: number})
		still = still && p.lastStable() == p.end()
	}
	next := w.brokers.group.offsets[input].next
	for _, topic := range w.workload.Outputs() {
		got, want := o.visible(topic, number), e.outputs[topic]
		if len(got) > len(want) {
			w.schedule.fail("%s/%d has %d records, the commands lead to %d", topic, number, len(got), len(want))
			return
		}
		for i, text := range got {
			if text != want[i].text {
				w.schedule.fail("%s/%d: record %d is %s, want %s", topic, number, i, text, want[i].text)
				return
			}
		}
		if still && len(got) != e.after[next].count[topic] {
			w.schedule.fail("%s/%d has %d records with %d commands committed, want %d", topic, number, len(got), next, e.after[next].count[topic])
		}
	}
	if still {
		p := w.brokers.partition(commit.Place{Topic: w.changelog(), Partition: number})
		rows, _ := w.fold(number, p.end())
		if !maps.Equal(rows, e.after[next].rows) {
			w.schedule.fail("%s/%d says %v with %d commands committed, want %v", w.changelog(), number, rows, next, e.after[next].rows)
		}
	}
}

func (o *oracle) visible(topic string, number int32) (texts []string) {
	p := o.world.brokers.partition(commit.Place{Topic: topic, Partition: number})
	for i := range p.entries {
		if e := &p.entries[i]; e.visible() {
			texts = append(texts, o.world.workload.Text(e.record))
		}
	}
	return texts
}

// fold returns the rows that a changelog leads to below an offset, and those derived from it. What compaction has removed
// counts: it was there.
func (w *world) fold(number int32, below int64) (rows, derived map[string]string) {
	rows, derived = map[string]string{}, map[string]string{}
	spec := w.sub.Stores[0]
	p := w.brokers.partition(commit.Place{Topic: spec.Changelog, Partition: number})
	for i := range p.entries[:min(below, p.end())] {
		e := &p.entries[i]
		if !e.counts() {
			continue
		}
		if e.record.Value == nil {
			delete(rows, string(e.record.Key))
		} else {
			rows[string(e.record.Key)] = string(e.record.Value)
		}
		w.derive(spec, e.record, derived)
	}
	return rows, derived
}

func (w *world) derive(spec *graph.Store, record task.Record, into map[string]string) {
	for _, header := range record.Headers {
		if header.Key != meta.Changelog {
			continue
		}
		_, extra, err := task.ParseChangelog(header.Value)
		if err != nil {
			w.schedule.fail("%s/%d offset %d: %v", record.Topic, record.Partition, record.Offset, err)
		}
		if extra != nil && spec.Derive != nil {
			spec.Derive(record.Key, record.Value, extra, record.Timestamp, func(_ string, key, value []byte) { into[string(key)] = string(value) })
		}
	}
}

// checkDisk holds a store that was just written against its changelog: its checkpoint says how far. Derived rows may be gone
// when they have expired by the world's clock: by the stream's they may not have, but compaction goes by the brokers' clock.
func (w *world) checkDisk(d *disk) {
	spec := w.sub.Stores[0]
	at, ok := d.engine.Checkpoint(spec.Changelog)
	if !ok {
		return
	}
	p := w.brokers.partition(commit.Place{Topic: spec.Changelog, Partition: d.partition})
	for i := range p.entries[:min(at.Offset, p.end())] {
		if tx := p.entries[i].tx; tx != nil && tx.fate == undecided {
			tx.below = fmt.Sprintf("%s/%d is checkpointed at %d, above a record of it at %d", d.machine.instance, d.partition, at.Offset, i)
		}
	}
	rows, derived := w.fold(d.partition, at.Offset)
	got := map[string]string{}
	each(d.engine, spec.Name, func(key, value []byte) { got[string(key)] = string(value) })
	if !maps.Equal(got, rows) {
		w.schedule.fail("the store of %s/%d at changelog offset %d has %v, its changelog says %v", d.machine.instance, d.partition, at.Offset, got, rows)
		return
	}
	for key, value := range derived {
		row, _, err := d.engine.Get(spec.DerivedStores[0], []byte(key))
		if err != nil || string(row) != value && !expired(value, w.now()) {
			w.schedule.fail("the store of %s/%d at changelog offset %d has %x for command %s, its changelog says %x (%v)", d.machine.instance, d.partition, at.Offset, row, key, value, err)
			return
		}
	}
}

// expired tells whether a row of a remembered command, fingerprint and time, is behind the horizon.
func expired(row string, now int64) bool {
	var at int64
	for i := 8; i < len(row); i++ {
		at = at<<8 | int64(row[i])
	}
	return now-at >= horizon.Milliseconds()
}

// final checks the end of a run: everything is processed.
func (o *oracle) final() {
	w := o.world
	if w.schedule.failed != nil {
		return
	}
	for number, e := range o.models {
		o.check(int32(number))
		if want := int64(len(e.after) - 1); e.next != want && want > 0 {
			w.schedule.fail("partition %d: %d commands are committed, want %d", number, e.next, want)
		}
	}
	for _, p := range w.running() {
		if p.session == nil || p.session.session == nil || p.session.session.Err() != nil || p.superseded {
			continue
		}
		for _, number := range p.session.assigned {
			o.owner(p, number)
		}
	}
}

// owner checks the disk of a partition's owner.
func (o *oracle) owner(p *process, number int32) {
	w, e := o.world, o.models[number]
	d := p.engines[number]
	at, ok := d.engine.Checkpoint(w.changelog())
	if !ok || at.Sequence != e.last.Sequence || p.session.member.Generation != w.brokers.group.generation {
		return // its last commit is not on the disk yet
	}
	got := map[string]string{}
	each(d.engine, w.sub.Stores[0].Name, func(key, value []byte) { got[string(key)] = string(value) })
	if want := e.after[len(e.after)-1].rows; !maps.Equal(got, want) {
		w.schedule.fail("the store of %s/%d has %v in the end, want %v", p.machine.instance, number, got, want)
	}
}
