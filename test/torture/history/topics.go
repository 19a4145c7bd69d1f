package history

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// checkTopics goes through the commands of each partition as a sequential processor would, and wants of every output that it
// is the next one: none lost, none doubled, in order, with the right content, and the state after each as the model has it.
func (r *Report) checkTopics(topics Topics) {
	letters := byOrigin(topics.DeadLetters)
	for _, number := range slices.Sorted(maps.Keys(topics.Commands)) {
		p := partition{
			report:     r,
			events:     cursor{report: r, what: "event", records: topics.Events[number]},
			rejections: cursor{report: r, what: "rejection", records: topics.Rejections[number]},
			dead:       cursor{report: r, what: "dead letter", records: letters[number]},
			changelog:  cursor{report: r, what: "changelog record", records: topics.Changelog[number]},
		}
		for _, record := range topics.Commands[number] {
			p.command(record)
		}
		for _, c := range []*cursor{&p.events, &p.rejections, &p.dead, &p.changelog} {
			c.end(number)
		}
		maps.Copy(r.Values, p.model.Values())
	}
	for name, of := range map[string]Topic{"events": topics.Events, "rejections": topics.Rejections, "dead letters": letters, "changelog": topics.Changelog} {
		for number, records := range of {
			if len(topics.Commands[number]) == 0 && len(records) > 0 {
				r.problem("partition %d has no commands and %d records of %s", number, len(records), name)
			}
		}
	}
}

// byOrigin sorts dead letters by the partition of what is set aside.
func byOrigin(letters Topic) Topic {
	sorted := Topic{}
	for _, from := range slices.Sorted(maps.Keys(letters)) {
		for _, record := range letters[from] {
			number, offset := origin(record)
			if offset < 0 {
				number = -1
			}
			sorted[number] = append(sorted[number], record)
		}
	}
	return sorted
}

// origin is where a dead letter says it comes from; the offset is -1 if it does not.
func origin(record *kgo.Record) (number int32, offset int64) {
	place := [2]int64{-1, -1}
	for i, name := range []string{meta.DeadPartition, meta.DeadOffset} {
		text, _ := headerOf(record, name)
		if parsed, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			place[i] = parsed
		}
	}
	return int32(place[0]), place[1]
}

// partition is one partition's model with its outputs.
type partition struct {
	report                              *Report
	model                               calculatortest.Model
	events, rejections, dead, changelog cursor
}

// command wants what must follow from a command.
func (p *partition) command(record *kgo.Record) {
	r := p.report
	place := Place{record.Partition, record.Offset}
	command, err := calculator.Commands.Value().Decode(record.Value)
	if err != nil || string(record.Key) != command.Data.ValueID || command.ID == "" {
		r.Dead++
		r.byPlace[place] = &decision{place: place, dead: true, id: command.ID, key: string(record.Key)}
		p.deadLetter(record)
		return
	}
	r.Commands++
	verdict := p.model.Apply(command, fingerprint(record))
	d := &decision{id: command.ID, key: command.Data.ValueID, place: place, verdict: verdict}
	r.byPlace[place] = d
	if r.first[d.id] == nil {
		r.first[d.id] = d
	}
	value, exists := p.model.Values()[d.key]
	switch {
	case verdict.Event != nil:
		r.Events++
		p.event(record, *verdict.Event)
	case verdict.Kind != "":
		r.Rejections++
		p.rejection(record, d)
	default:
		r.Repeated++
	}
	if verdict.Repeated || verdict.Kind == topology.IdempotencyConflict {
		return
	}
	p.state(record, d, value, exists)
	r.states[d.key] = append(r.states[d.key], state{place, d.id, exists, value})
}

func (p *partition) event(command *kgo.Record, want calculator.Event) {
	record := p.events.next(command)
	if record == nil {
		return
	}
	got, err := calculator.Events.Value().Decode(record.Value)
	switch {
	case err != nil || got != want:
		p.events.wrong("%s follows from the command at %d@%d; it must be %+v (%v)", brief(record), command.Partition, command.Offset, want, err)
	case record.Timestamp.UnixMilli() != command.Timestamp.UnixMilli():
		p.events.wrong("%s is dated %d, its command %d", brief(record), record.Timestamp.UnixMilli(), command.Timestamp.UnixMilli())
	}
}

func (p *partition) rejection(command *kgo.Record, d *decision) {
	record := p.rejections.next(command)
	if record == nil {
		return
	}
	got, err := calculator.Rejections.Value().Decode(record.Value)
	if err != nil || got.CommandID != d.id || got.Data.Kind != d.verdict.Kind || got.ID != topology.DeriveID(d.id, -1) {
		p.rejections.wrong("%s follows from the command at %d@%d; it must reject %s as %s (%v)", brief(record), command.Partition, command.Offset, d.id, d.verdict.Kind, err)
	}
}

func (p *partition) deadLetter(command *kgo.Record) {
	record := p.dead.take(command)
	if record == nil {
		return
	}
	if _, offset := origin(record); offset != command.Offset || string(record.Value) != string(command.Value) || string(record.Key) != string(command.Key) {
		p.dead.wrong("%s is set aside in the place of %s", brief(record), brief(command))
	}
}

// state wants the changelog record of a command: the value after it, and the id that is remembered.
func (p *partition) state(command *kgo.Record, d *decision, value float64, exists bool) {
	record := p.changelog.take(command)
	if record == nil {
		return
	}
	header, _ := headerOf(record, meta.Changelog)
	_, extra, err := task.ParseChangelog(header)
	if err != nil || len(extra) < len(d.id) || string(extra[len(extra)-len(d.id):]) != d.id || string(record.Key) != d.key {
		p.changelog.wrong("%s is not of the command %s at %d@%d (%v)", brief(record), d.id, command.Partition, command.Offset, err)
		return
	}
	got, found, err := decodeValue(record)
	if err != nil || found != exists || got != value {
		p.changelog.wrong("%s: the value after the command at %d@%d is %v (there: %t), it must be %v (there: %t) (%v)",
			brief(record), command.Partition, command.Offset, got, found, value, exists, err)
	}
}

func decodeValue(record *kgo.Record) (value float64, found bool, err error) {
	if record.Value == nil {
		return 0, false, nil
	}
	decoded, err := codecs.JSON[calculator.Value]().Decode(record.Value)
	return decoded.Value.Float64(), true, err
}

// cursor goes through the outputs of one partition.
type cursor struct {
	report  *Report
	what    string
	records []*kgo.Record
	broken  bool // one difference is enough: those that follow are its consequence
}

// take returns the next output, which must be there.
func (c *cursor) take(command *kgo.Record) *kgo.Record {
	if c.broken {
		return nil
	}
	if len(c.records) == 0 {
		c.wrong("lost: no %s follows from %s", c.what, brief(command))
		return nil
	}
	record := c.records[0]
	c.records = c.records[1:]
	return record
}

// next returns the next output, which must name the command as its cause.
func (c *cursor) next(command *kgo.Record) *kgo.Record {
	record := c.take(command)
	if record == nil {
		return nil
	}
	cause, _ := headerOf(record, meta.Cause)
	number, offset, err := meta.ParseCause(cause)
	if err != nil || number != command.Partition || offset != command.Offset || string(record.Key) != string(command.Key) {
		c.wrong("lost, doubled or out of order: the next %s is %s, which follows from %d@%d (%v); it must follow from %s",
			c.what, brief(record), number, offset, err, brief(command))
		return nil
	}
	return record
}

func (c *cursor) wrong(format string, args ...any) {
	c.broken = true
	c.report.problem(format, args...)
}

func (c *cursor) end(number int32) {
	if len(c.records) > 0 && !c.broken {
		c.report.problem("doubled or from nowhere: partition %d has %d more %ss than follow from commands, the first is %s",
			number, len(c.records), c.what, brief(c.records[0]))
	}
}

// Fold returns the values that a changelog's records below an offset lead to.
func Fold(records []*kgo.Record, below int64) map[string]string {
	rows := map[string]string{}
	for _, record := range records {
		switch {
		case record.Offset >= below:
		case record.Value == nil:
			delete(rows, string(record.Key))
		default:
			rows[string(record.Key)] = string(record.Value)
		}
	}
	return rows
}

// Differences tells where a store's rows are not those of its changelog.
func Differences(store, changelog map[string]string) (found []string) {
	for _, key := range slices.Sorted(maps.Keys(changelog)) {
		if got, ok := store[key]; !ok {
			found = append(found, "no row of "+key+", which is "+changelog[key])
		} else if got != changelog[key] {
			found = append(found, key+" is "+got+", want "+changelog[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(store)) {
		if _, ok := changelog[key]; !ok {
			found = append(found, "a row of "+key+", which has none, is "+store[key])
		}
	}
	return found
}

// CheckAcknowledged wants every command that the log has acknowledged to a producer of its own at its place; an empty id stands
// for what cannot be read.
func CheckAcknowledged(topics Topics, acknowledged map[Place]string) (problems []string) {
	there := map[Place]*kgo.Record{}
	for _, records := range topics.Commands {
		for _, record := range records {
			there[Place{record.Partition, record.Offset}] = record
		}
	}
	for place, id := range acknowledged {
		record := there[place]
		if record == nil {
			problems = append(problems, fmt.Sprintf("lost: command %q was acknowledged at %v, which holds nothing", id, place))
			continue
		}
		if command, err := calculator.Commands.Value().Decode(record.Value); id != "" && (err != nil || command.ID != id) {
			problems = append(problems, fmt.Sprintf("lost: command %q was acknowledged at %v, which holds %s", id, place, brief(record)))
		}
	}
	slices.Sort(problems)
	return problems[:min(len(problems), 10)]
}
