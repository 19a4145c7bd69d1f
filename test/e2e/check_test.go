package e2e

import (
	"context"
	"math"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/topology"
)

// report is what the checker found.
type report struct {
	commands, events, rejections, repeated, dead int
	values                                       map[string]float64
	verdicts                                     map[string]calculatortest.Verdict // of the first command of each id
}

// awaitLevel waits until the processor has decided on every command.
func awaitLevel(t *testing.T, brokers string) {
	t.Helper()
	admin, err := log.NewAdmin(log.Config{Brokers: []string{brokers}})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	topic := calculator.Commands.Name()
	var committed, ends map[int32]int64
	defer func() {
		if t.Failed() {
			t.Logf("committed %v of %v", committed, ends)
		}
	}()
	eventually(t, "every command is decided", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		end, err := admin.StableOffsets(ctx, topic)
		if err != nil {
			return false
		}
		positions, err := admin.CommittedOffsets(ctx, calculator.Group, true, topic)
		if err != nil {
			return false
		}
		committed, ends = map[int32]int64{}, end[topic]
		for partition := range ends {
			committed[partition] = positions[topic][partition].Offset
		}
		return reflect.DeepEqual(committed, ends)
	})
}

// check reads everything back and compares it with the model: exactly one event for each accepted command, in order, with
// the right content and cause; one rejection for each rejected one; nothing else; and the state that follows.
func check(t *testing.T, brokers string) report {
	t.Helper()
	awaitLevel(t, brokers)
	commands := readTopic(t, brokers, calculator.Commands.Name())
	events := readTopic(t, brokers, calculator.Events.Name())
	rejections := readTopic(t, brokers, calculator.Rejections.Name())
	changelog := fold(t, readTopic(t, brokers, "calculator-values-changelog"))
	found := report{values: map[string]float64{}, verdicts: map[string]calculatortest.Verdict{}}
	for _, letters := range readTopic(t, brokers, calculator.DeadLetters) {
		found.dead += len(letters)
	}
	undecodable := 0
	for partition, records := range commands {
		var model calculatortest.Model
		e, r := cursor{t: t, records: events[partition]}, cursor{t: t, records: rejections[partition]}
		for _, record := range records {
			command, err := calculator.Commands.Value().Decode(record.Value)
			if err != nil || string(record.Key) != command.Data.ValueID {
				undecodable++
				continue
			}
			found.commands++
			verdict := model.Apply(command, fingerprint(record))
			if _, again := found.verdicts[command.ID]; !again {
				found.verdicts[command.ID] = verdict
			}
			switch {
			case verdict.Event != nil:
				e.event(record, *verdict.Event)
				found.events++
			case verdict.Kind != "":
				r.rejection(record, command.ID, verdict.Kind)
				found.rejections++
			default:
				found.repeated++
			}
		}
		e.end("events")
		r.end("rejections")
		for id, value := range model.Values() {
			found.values[id] = value
		}
	}
	if undecodable != found.dead {
		t.Errorf("%d commands cannot be processed and %d are set aside", undecodable, found.dead)
	}
	if !reflect.DeepEqual(changelog, found.values) {
		t.Errorf("the changelog holds %d values, not those %d of the model: %v", len(changelog), len(found.values), differences(changelog, found.values))
	}
	return found
}

// fingerprint is what tells two bodies under one id apart.
func fingerprint(record *kgo.Record) string {
	if header, ok := headerOf(record, meta.Fingerprint); ok {
		return header
	}
	return "bytes " + string(record.Value)
}

func headerOf(record *kgo.Record, key string) (string, bool) {
	for _, header := range record.Headers {
		if header.Key == key {
			return string(header.Value), true
		}
	}
	return "", false
}

// cursor goes through the outputs of one partition.
type cursor struct {
	t       *testing.T
	records []*kgo.Record
	broken  bool // one difference is enough: those that follow are its consequence
}

// next returns the next output, which must follow from a command.
func (c *cursor) next(command *kgo.Record) *kgo.Record {
	c.t.Helper()
	if c.broken {
		return nil
	}
	if len(c.records) == 0 {
		c.t.Errorf("nothing follows from the command at %d@%d: %s", command.Partition, command.Offset, command.Value)
		c.broken = true
		return nil
	}
	record := c.records[0]
	c.records = c.records[1:]
	cause, _ := headerOf(record, meta.Cause)
	partition, offset, err := meta.ParseCause([]byte(cause))
	if err != nil || partition != command.Partition || offset != command.Offset || string(record.Key) != string(command.Key) {
		c.t.Errorf("%s %d@%d follows from %d@%d (%v), want %d@%d: %s", record.Topic, record.Partition, record.Offset, partition, offset, err,
			command.Partition, command.Offset, record.Value)
		c.broken = true
		return nil
	}
	return record
}

func (c *cursor) event(command *kgo.Record, want calculator.Event) {
	c.t.Helper()
	record := c.next(command)
	if record == nil {
		return
	}
	got, err := calculator.Events.Value().Decode(record.Value)
	if err != nil || got != want || record.Timestamp.UnixMilli() != command.Timestamp.UnixMilli() {
		c.t.Errorf("event %d@%d is %s (%v), want %+v", record.Partition, record.Offset, record.Value, err, want)
		c.broken = true
	}
}

func (c *cursor) rejection(command *kgo.Record, id string, kind topology.RejectionKind) {
	c.t.Helper()
	record := c.next(command)
	if record == nil {
		return
	}
	got, err := calculator.Rejections.Value().Decode(record.Value)
	if err != nil || got.CommandID != id || got.Data.Kind != kind {
		c.t.Errorf("rejection %d@%d is %s (%v), want %s of %s", record.Partition, record.Offset, record.Value, err, kind, id)
		c.broken = true
	}
}

func (c *cursor) end(what string) {
	c.t.Helper()
	if len(c.records) > 0 && !c.broken {
		c.t.Errorf("there are %d more %s than follow from commands, the first %d@%d: %s", len(c.records), what,
			c.records[0].Partition, c.records[0].Offset, c.records[0].Value)
	}
}

// fold returns the values that a changelog leads to.
func fold(t *testing.T, changelog map[int32][]*kgo.Record) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, records := range changelog {
		for _, record := range records {
			if record.Value == nil {
				delete(values, string(record.Key))
				continue
			}
			value, err := valueCodec.Decode(record.Value)
			if err != nil {
				t.Fatalf("changelog %d@%d does not decode: %v", record.Partition, record.Offset, err)
			}
			values[string(record.Key)] = value.Value.Float64()
		}
	}
	return values
}

func differences(got, want map[string]float64) map[string][2]float64 {
	all := map[string][2]float64{}
	for id, value := range want {
		if have, ok := got[id]; !ok || have != value {
			all[id] = [2]float64{have, value}
		}
	}
	for id, value := range got {
		if _, ok := want[id]; !ok {
			all[id] = [2]float64{value, math.NaN()}
		}
	}
	return all
}
