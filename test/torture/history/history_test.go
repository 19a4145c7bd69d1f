package history_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/test/torture/history"
	"github.com/tidemill/tidemill/topology"
)

// story is a history that is right: what a sequential calculator makes of commands, and what clients were told.
type story struct {
	t          *testing.T
	topics     history.Topics
	operations []history.Operation
	model      calculatortest.Model
	now        time.Duration
}

const (
	a = "aaaaaaaa-0000-0000-0000-000000000000"
	b = "bbbbbbbb-0000-0000-0000-000000000000"
)

// good is a story of two values with all that can happen to a command.
func good(t *testing.T) *story {
	s := &story{t: t, topics: history.Topics{
		Commands: history.Topic{}, Events: history.Topic{}, Rejections: history.Topic{}, DeadLetters: history.Topic{}, Changelog: history.Topic{},
	}}
	s.write("c1", a, "CreateValue", "", 3, 201)
	s.read(a, 3, 0)
	s.write("c2", a, "UpdateValue", "MULTIPLY", 3, 200)
	s.write("c3", b, "UpdateValue", "ADD", 1, 404)
	s.read(a, 9, 1)
	s.write("c4", a, "UpdateValue", "ADD", 4, 200)
	s.write("c4", a, "UpdateValue", "ADD", 4, 200) // again
	s.poison()
	s.write("c5", a, "CreateValue", "", 5, 409)
	s.write("c6", b, "CreateValue", "", 7, 201)
	s.read(a, 13, 3)
	s.read(b, 7, 7)
	return s
}

func value(v float64) *float64 { return &v }

// write adds a command with everything that follows from it, answered with a status.
func (s *story) write(id, key, action, operation string, operand float64, status int) {
	c := calculator.Command{ID: id, Action: action, Timestamp: 1000}
	c.Data = calculator.Request{ValueID: key, Operation: operation, Value: calculator.NumberOf(operand)}
	record := encode(s, &s.topics.Commands, "calculator-commands", key, calculator.Commands.Value(), c)
	verdict := s.model.Apply(c, "bytes "+string(record.Value))
	headers := []kgo.RecordHeader{{Key: meta.Command, Value: []byte(id)}, {Key: meta.Cause, Value: meta.AppendCause(nil, 0, record.Offset)}}
	switch {
	case verdict.Event != nil:
		encode(s, &s.topics.Events, "calculator-events", key, calculator.Events.Value(), *verdict.Event, headers...)
	case verdict.Kind != "":
		rejection := topology.Rejection{ID: topology.DeriveID(id, -1), CommandID: id, Action: "CommandRejected", Timestamp: c.Timestamp}
		rejection.Data.Kind = verdict.Kind
		encode(s, &s.topics.Rejections, "calculator-rejections", key, calculator.Rejections.Value(), rejection, headers...)
	}
	after, exists := s.model.Values()[key]
	if !verdict.Repeated {
		extra := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, id...)
		row := encode(s, &s.topics.Changelog, "calculator-values-changelog", key, codecs.JSON[calculator.Value](), calculator.Value{Value: calculator.NumberOf(after)},
			kgo.RecordHeader{Key: meta.Changelog, Value: extra})
		if !exists {
			row.Value = nil
		}
	}
	if verdict.Repeated { // another attempt of the operation before
		last := &s.operations[len(s.operations)-1]
		last.Tokens, last.Returned = append(last.Tokens, history.Place{Offset: record.Offset}), s.now+2
		s.now += 3
		return
	}
	o := history.Operation{
		Key: key, Called: s.now, Returned: s.now + 2, Status: status, CommandID: id, Tokens: []history.Place{{Partition: 0, Offset: record.Offset}},
	}
	if status < 300 {
		o.Shown = value(after)
	}
	s.now += 3
	s.operations = append(s.operations, o)
}

func encode[V any](s *story, into *history.Topic, topic, key string, codec codecs.Codec[V], v V, headers ...kgo.RecordHeader) *kgo.Record {
	body, err := codec.Append(nil, v)
	if err != nil {
		s.t.Fatal(err)
	}
	record := &kgo.Record{
		Topic: topic, Key: []byte(key), Value: body, Headers: headers, Offset: int64(len((*into)[0])), Timestamp: time.UnixMilli(1000),
	}
	(*into)[0] = append((*into)[0], record)
	return record
}

// poison adds a command that cannot be read.
func (s *story) poison() {
	at := int64(len(s.topics.Commands[0]))
	s.topics.Commands[0] = append(s.topics.Commands[0], &kgo.Record{Topic: "calculator-commands", Key: []byte(a), Value: []byte("{"), Offset: at})
	s.topics.DeadLetters[3] = append(s.topics.DeadLetters[3], &kgo.Record{
		Topic: "calculator-dead-letters", Partition: 3, Key: []byte(a), Value: []byte("{"),
		Headers: []kgo.RecordHeader{{Key: meta.DeadPartition, Value: []byte("0")}, {Key: meta.DeadOffset, Value: []byte("5")}},
	})
}

// read adds a read with the token of the command at an offset.
func (s *story) read(key string, shown float64, token int64) {
	s.operations = append(s.operations, history.Operation{
		Key: key, Read: true, Called: s.now, Returned: s.now + 2, Status: 200, Shown: &shown, Server: "view", Tokens: []history.Place{{Partition: 0, Offset: token}},
	})
	s.now += 3
}

func (s *story) check() *history.Report { return history.Check(s.topics, s.operations) }

func TestRight(t *testing.T) {
	got := good(t).check()
	if len(got.Problems) > 0 {
		t.Fatalf("a right history has problems: %s", strings.Join(got.Problems, "\n"))
	}
	if got.Commands != 7 || got.Events != 4 || got.Rejections != 2 || got.Repeated != 1 || got.Dead != 1 || got.Writes != 6 || got.Reads != 4 || got.Keys != 2 {
		t.Errorf("it counts %+v", got)
	}
}

func drop(topic history.Topic, i int) { topic[0] = append(topic[0][:i:i], topic[0][i+1:]...) }

func double(topic history.Topic, i int) {
	topic[0] = append(topic[0][:i+1:i+1], topic[0][i:]...)
}

func replace(record *kgo.Record, old, by string) {
	record.Value = []byte(strings.Replace(string(record.Value), old, by, 1))
}

// doctored are histories with one thing made wrong, and a word of the problem that must be told.
var doctored = []struct {
	name, want string
	doctor     func(s *story)
}{
	{"an event is lost", "lost", func(s *story) { drop(s.topics.Events, 1) }},
	{"the last event is lost", "lost: no event", func(s *story) { drop(s.topics.Events, 3) }},
	{"an event is doubled", "doubled", func(s *story) { double(s.topics.Events, 1) }},
	{"the last event is doubled", "doubled", func(s *story) { double(s.topics.Events, 3) }},
	{"events out of order", "out of order", func(s *story) {
		e := s.topics.Events[0]
		e[0], e[1] = e[1], e[0]
	}},
	{"an event with another id", "must be", func(s *story) { replace(s.topics.Events[0][1], `"id":"`, `"id":"x`) }},
	{"an event with a wrong result", "must be", func(s *story) { replace(s.topics.Events[0][1], `"result":9`, `"result":8`) }},
	{"an event with its own time", "dated", func(s *story) { s.topics.Events[0][1].Timestamp = time.UnixMilli(1001) }},
	{"a rejection is lost", "lost", func(s *story) { drop(s.topics.Rejections, 0) }},
	{"a rejection for another reason", "must reject", func(s *story) { replace(s.topics.Rejections[0][0], "not-found", "conflict") }},
	{"a dead letter is lost", "no dead letter", func(s *story) { delete(s.topics.DeadLetters, 3) }},
	{"a dead letter is doubled", "doubled", func(s *story) { s.topics.DeadLetters[3] = append(s.topics.DeadLetters[3], s.topics.DeadLetters[3]...) }},
	{"a state in between is wrong", "the value after", func(s *story) { replace(s.topics.Changelog[0][1], "9", "8") }},
	{"a state is lost", "is not of the command", func(s *story) { drop(s.topics.Changelog, 1) }},
	{"a state is doubled", "is not of the command", func(s *story) { double(s.topics.Changelog, 1) }},
	{"a rejected command is not remembered", "is not of the command", func(s *story) { drop(s.topics.Changelog, 2) }},
	{"an acknowledged command is lost", "lost: command c6", func(s *story) { drop(s.topics.Commands, 7); drop(s.topics.Events, 3); drop(s.topics.Changelog, 5) }},
	{"acceptance is told of a rejected command", "false: command c3", func(s *story) { s.operations[3].Status = 200 }},
	{"rejection is told of an accepted command", "false: command c2", func(s *story) { s.operations[2].Status = 422; s.operations[2].Shown = nil }},
	{"a false reason is told", "false: command c5", func(s *story) { s.operations[6].Status = 404 }},
	{"a status is false", "the status of command c3", func(s *story) { s.operations[3].Reported = "accepted" }},
	{"a command that is nowhere is told of", "is not in the log", func(s *story) { s.operations[3].CommandID, s.operations[3].Tokens = "c9", nil }},
	{"a stale read", "stale", func(s *story) { s.operations[4].Shown = value(3) }},
	{"a read of nothing after a write", "shown as nothing", func(s *story) { s.operations[4].Shown, s.operations[4].Status = nil, 404; s.operations[1].Shown = nil }},
	{"a read of what never was", "false", func(s *story) { s.operations[4].Shown = value(4) }},
	{"a read of the future", "or not yet", func(s *story) { s.operations[4].Shown = value(13) }},
	{"an answer with an old value", "stale", func(s *story) { s.operations[2].Shown = value(3) }},
	{"a read without a token goes back", "not linearizable", func(s *story) {
		s.operations = append(s.operations, history.Operation{Key: a, Read: true, Called: s.now, Returned: s.now + 1, Status: 200, Shown: value(9), Server: "view"})
	}},
	{"a second body is accepted", "second body", func(s *story) {
		o := s.operations[0]
		o.Conflicting = true
		s.operations = append(s.operations, o)
	}},
}

func TestDoctored(t *testing.T) {
	for _, c := range doctored {
		t.Run(c.name, func(t *testing.T) {
			s := good(t)
			c.doctor(s)
			got := strings.Join(s.check().Problems, "\n")
			if !strings.Contains(got, c.want) {
				t.Errorf("told is %q, want %q in it", got, c.want)
			}
		})
	}
}

// What nobody was told may have happened at any time, or not at all.
func TestUnknown(t *testing.T) {
	s := good(t)
	for i := range s.operations {
		if o := &s.operations[i]; !o.Read {
			o.Status, o.Shown = 202, nil
		}
	}
	s.operations[0].CommandID, s.operations[0].Tokens, s.operations[0].Status = "", nil, 503
	if got := s.check(); len(got.Problems) > 0 {
		t.Errorf("problems: %s", strings.Join(got.Problems, "\n"))
	}
}

func TestAcknowledged(t *testing.T) {
	s := good(t)
	acknowledged := map[history.Place]string{{Offset: 0}: "c1", {Offset: 5}: ""}
	if got := history.CheckAcknowledged(s.topics, acknowledged); len(got) > 0 {
		t.Errorf("problems: %v", got)
	}
	acknowledged[history.Place{Offset: 1}], acknowledged[history.Place{Offset: 99}] = "c9", ""
	if got := history.CheckAcknowledged(s.topics, acknowledged); len(got) != 2 {
		t.Errorf("two are lost, told are %v", got)
	}
}

func TestStoresAndChangelogs(t *testing.T) {
	changelog := good(t).topics.Changelog[0]
	if got := history.Fold(changelog, 100); got[a] != `{"value":13.0}` || got[b] != `{"value":7.0}` {
		t.Errorf("the fold is %v", got)
	}
	early := history.Fold(changelog, 2)
	if early[a] != `{"value":9.0}` || len(early) != 1 {
		t.Errorf("up to 2 the fold is %v", early)
	}
	for _, store := range []map[string]string{{}, {a: "8"}, {a: early[a], b: "1"}} {
		if got := history.Differences(store, early); len(got) != 1 {
			t.Errorf("%v differs from %v in %v", store, early, got)
		}
	}
}
