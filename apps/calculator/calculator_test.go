package calculator_test

import (
	"flag"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

var seed = flag.Uint64("seed", 20261121, "of the random tests")

const start = 1_613_068_185_765 // the text's first command

// bench is the calculator in a driver.
type bench struct {
	*topologytest.Driver
	commands   *topologytest.InputTopic[string, calculator.Command]
	events     *topologytest.OutputTopic[string, calculator.Event]
	rejections *topologytest.OutputTopic[string, topology.Rejection]
	values     *topologytest.StoreView[string, calculator.Value]
}

func newBench(t testing.TB, options ...topologytest.Option) *bench {
	t.Helper()
	built, values, err := calculator.Topology()
	if err != nil {
		t.Fatal(err)
	}
	driver := topologytest.New(t, built, options...)
	return &bench{
		Driver: driver, commands: topologytest.Input(driver, calculator.Commands), events: topologytest.Output(driver, calculator.Events),
		rejections: topologytest.Output(driver, calculator.Rejections), values: topologytest.Store(driver, values),
	}
}

func (b *bench) pipe(c calculator.Command) {
	b.commands.Pipe(c.Data.ValueID, c, topologytest.At(c.Timestamp))
}

const (
	valueID = "d35e95f5-2a7a-4c31-8d28-2eb92643a154"
	unknown = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

func create(id, value string, number float64) calculator.Command {
	return calculator.Command{ID: id, Action: "CreateValue", Data: calculator.Request{ValueID: value, Value: calculator.NumberOf(number)}, Timestamp: start}
}

func update(id, value, operation string, number float64) calculator.Command {
	return calculator.Command{ID: id, Action: "UpdateValue", Data: calculator.Request{ValueID: value, Operation: operation, Value: calculator.NumberOf(number)}, Timestamp: start + 1}
}

// The session of the text, by the bodies of the records.
func TestSession(t *testing.T) {
	b := newBench(t)
	b.PipeBytes("calculator-commands", []byte(valueID), []byte(
		`{"id":"7037a79d-7e6b-4969-9ea5-6d5c28605ac4","action":"CreateValue","data":{"value-id":"`+valueID+`","value":3},"timestamp":1613068185765}`))
	created := b.events.Read().Value
	body, err := calculator.Events.Value().Append(nil, created)
	want := `{"id":"` + topology.DeriveID("7037a79d-7e6b-4969-9ea5-6d5c28605ac4", 0) + `","parent-id":"7037a79d-7e6b-4969-9ea5-6d5c28605ac4",` +
		`"action":"ValueCreated","data":{"value-id":"` + valueID + `","value":3.0},"timestamp":1613068185765}`
	if err != nil || string(body) != want {
		t.Errorf("the event is\n%s (%v), want\n%s", body, err, want)
	}
	b.pipe(update("b694cc37-7657-4d27-97f5-e8f800ef05c4", unknown, "MULTIPLY", 3))
	rejection := b.rejections.Read().Value
	if rejection.Data.Kind != topology.NotFound || rejection.Data.Reason != "value with id "+unknown+" does not exist" || !b.events.Empty() {
		t.Errorf("updating an unknown value: %+v", rejection)
	}
	b.pipe(update("0b0f4c8e-7a9c-4a52-9f7d-0b6d1f2f7c11", valueID, "MULTIPLY", 3))
	updated := b.events.Read().Value
	body, err = calculator.Events.Value().Append(nil, updated)
	want = `{"id":"` + topology.DeriveID("0b0f4c8e-7a9c-4a52-9f7d-0b6d1f2f7c11", 0) + `","parent-id":"0b0f4c8e-7a9c-4a52-9f7d-0b6d1f2f7c11",` +
		`"action":"ValueUpdated","data":{"value-id":"` + valueID + `","operation":"MULTIPLY","value":3.0,"result":9.0},"timestamp":1613068185766}`
	if err != nil || string(body) != want {
		t.Errorf("the event is\n%s (%v), want\n%s", body, err, want)
	}
	if value, found := b.values.Get(valueID); !found || value.Value.Float64() != 9 {
		t.Errorf("the value is %v, %v; want 9", value, found)
	}
}

func TestRejections(t *testing.T) {
	huge := math.MaxFloat64
	absent := create("c", valueID, 0)
	absent.Data.Value = calculator.Number{}
	for _, c := range []struct {
		name    string
		command calculator.Command
		kind    topology.RejectionKind
		reason  string
	}{
		{"create again", create("c", valueID, 1), topology.Conflict, "value with id " + valueID + " already exists"},
		{"unknown value", update("c", unknown, "ADD", 1), topology.NotFound, "value with id " + unknown + " does not exist"},
		{"unknown operation", update("c", valueID, "DIVIDE", 1), topology.Invalid, `unknown operation "DIVIDE"; want ADD or MULTIPLY`},
		{"no operation", update("c", valueID, "", 1), topology.Invalid, `unknown operation ""; want ADD or MULTIPLY`},
		{"unknown action", calculator.Command{ID: "c", Action: "DeleteValue", Data: absentless(valueID)}, topology.Invalid, `unknown action "DeleteValue"; want CreateValue or UpdateValue`},
		{"no value", absent, topology.Invalid, "a command needs a value-id and a value"},
		{"overflow by multiplying", update("c", valueID, "MULTIPLY", huge), topology.Invalid, "MULTIPLY 1.7976931348623157e308 to 1.7976931348623157e308: the result is outside of what a double can hold"},
		{"overflow by adding", update("c", valueID, "ADD", huge), topology.Invalid, "ADD 1.7976931348623157e308 to 1.7976931348623157e308: the result is outside of what a double can hold"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.pipe(create("first", valueID, huge))
			b.events.Read()
			b.pipe(c.command)
			rejection := b.rejections.Read().Value
			if rejection.Data.Kind != c.kind || rejection.Data.Reason != c.reason || rejection.CommandID != "c" {
				t.Errorf("rejected as %+v, want %s: %s", rejection, c.kind, c.reason)
			}
			if value, found := b.values.Get(valueID); !found || value.Value.Float64() != huge || !b.events.Empty() {
				t.Errorf("the value has become %v, and there are events: %v", value.Value, !b.events.Empty())
			}
		})
	}
}

func absentless(id string) calculator.Request {
	return calculator.Request{ValueID: id, Value: calculator.NumberOf(1)}
}

// What is no command at all, or not where its value's state is, is set aside.
func TestDeadLetters(t *testing.T) {
	for name, pipe := range map[string]func(b *bench){
		"no JSON":         func(b *bench) { b.PipeBytes("calculator-commands", []byte(valueID), []byte("{")) },
		"NaN":             func(b *bench) { b.PipeBytes("calculator-commands", []byte(valueID), raw(`NaN`)) },
		"beyond a double": func(b *bench) { b.PipeBytes("calculator-commands", []byte(valueID), raw(`1e400`)) },
		"a number's text": func(b *bench) { b.PipeBytes("calculator-commands", []byte(valueID), raw(`"3"`)) },
		"unknown member":  func(b *bench) { b.PipeBytes("calculator-commands", []byte(valueID), raw(`3,"x":1`)) },
		"another key":     func(b *bench) { b.PipeBytes("calculator-commands", []byte(unknown), raw(`3`)) },
		"no key":          func(b *bench) { b.PipeBytes("calculator-commands", nil, raw(`3`)) },
		"another partition": func(b *bench) {
			b.pipe(create("other", valueID, 1))
			own := b.events.Read().Partition
			b.commands.Pipe(valueID, update("c", valueID, "ADD", 1), topologytest.OnPartition(own^1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, topologytest.Partitions(2))
			pipe(b)
			if letters := b.DeadLetters(); len(letters) != 1 {
				t.Errorf("there are %d dead letters, want 1", len(letters))
			}
			if !b.events.Empty() || !b.rejections.Empty() {
				t.Error("there is an event or a rejection")
			}
		})
	}
}

// raw returns a command with the text of a value.
func raw(value string) []byte {
	return []byte(`{"id":"c","action":"CreateValue","data":{"value-id":"` + valueID + `","value":` + value + `},"timestamp":1}`)
}

// Commands of the same id have one effect, whatever comes between and however often the process dies.
func TestRepeatedCommands(t *testing.T) {
	b := newBench(t)
	b.pipe(create("a", valueID, 2))
	b.pipe(update("b", valueID, "ADD", 1))
	b.pipe(update("b", valueID, "ADD", 1))
	b.Crash()
	b.pipe(update("b", valueID, "ADD", 1))
	b.CrashLosingDisk()
	b.pipe(update("b", valueID, "ADD", 1))
	b.pipe(update("b", valueID, "ADD", 100))
	if got := len(b.events.ReadAll()); got != 2 {
		t.Errorf("there are %d events, want 2", got)
	}
	if rejection := b.rejections.Read().Value; rejection.Data.Kind != topology.IdempotencyConflict || !b.rejections.Empty() {
		t.Errorf("the other body is rejected as %+v", rejection)
	}
	if value, _ := b.values.Get(valueID); value.Value.Float64() != 3 {
		t.Errorf("the value is %v, want 3", value.Value)
	}
}

func TestRandomCommandsAgainstTheModel(t *testing.T) {
	for run := range uint64(5) {
		seed := *seed + run
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			b := newBench(t, topologytest.CommitEvery(int(run*7)+1))
			random := calculatortest.NewRandom(seed, 20, start)
			var model calculatortest.Model
			var events []calculator.Event
			var kinds []topology.RejectionKind
			for range 2000 {
				command := random.Next()
				b.pipe(command)
				verdict := model.Apply(command, body(t, command))
				if verdict.Event != nil {
					events = append(events, *verdict.Event)
				} else if verdict.Kind != "" {
					kinds = append(kinds, verdict.Kind)
				}
			}
			b.Commit()
			if got := b.events.ReadValues(); !reflect.DeepEqual(got, events) {
				t.Errorf("%d events differ from the %d of the model (-seed %d)", len(got), len(events), seed)
			}
			for i, rejection := range b.rejections.ReadValues() {
				if i >= len(kinds) || rejection.Data.Kind != kinds[i] {
					t.Fatalf("rejection %d is %+v, want one of %v (-seed %d)", i, rejection, kinds[min(i, len(kinds)-1)], seed)
				}
			}
			for _, row := range b.values.All() {
				if want := model.Values()[row.Key]; row.Value.Value.Float64() != want {
					t.Errorf("value %s is %v, want %v (-seed %d)", row.Key, row.Value.Value, want, seed)
				}
			}
			if got := len(b.values.All()); got != len(model.Values()) {
				t.Errorf("there are %d values, want %d (-seed %d)", got, len(model.Values()), seed)
			}
		})
	}
}

func body(t testing.TB, c calculator.Command) string {
	t.Helper()
	encoded, err := calculator.Commands.Value().Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// A crash at any moment of a script of 200 commands changes nothing.
func TestCrashAtEveryStep(t *testing.T) {
	built, _, err := calculator.Topology()
	if err != nil {
		t.Fatal(err)
	}
	random := calculatortest.NewRandom(*seed, 8, start)
	var script []func(*topologytest.Driver)
	for range 200 {
		command := random.Next()
		encoded := []byte(body(t, command))
		script = append(script, func(d *topologytest.Driver) {
			d.PipeBytes("calculator-commands", []byte(command.Data.ValueID), encoded, topologytest.At(command.Timestamp))
		})
	}
	topologytest.EveryStep(t, built, script, topologytest.CommitEvery(7))
}
