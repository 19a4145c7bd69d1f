package calculator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/topology/topologytest"
)

// Each value has its own events, in the order of the log, also after a restart and beside ids that contain one another.
func TestHistory(t *testing.T) {
	top, steps, err := HistoryTopology()
	if err != nil {
		t.Fatal(err)
	}
	driver := topologytest.New(t, top)
	events := topologytest.Input(driver, Events)
	ids := []string{"a", "a/b", "a%2Fb", "b"}
	for round := range 3 {
		for _, id := range ids {
			e := Event{ID: fmt.Sprint(round), ParentID: "c", Action: "ValueUpdated", Timestamp: 7}
			e.Data = Change{ValueID: id, Operation: "ADD", Value: NumberOf(1), Result: NumberOf(float64(round))}
			events.Pipe(id, e)
		}
		driver.CrashLosingDisk()
	}
	rows := topologytest.Store(driver, steps).All()
	for _, id := range ids {
		var got []string
		for _, row := range rows {
			if strings.HasPrefix(row.Key, stepPrefix(id)) {
				if row.Value.Data.ValueID != id {
					t.Errorf("an event of %q lies under %q", row.Value.Data.ValueID, id)
				}
				got = append(got, row.Key+" "+row.Value.Data.Result.String())
			}
		}
		if len(got) != 3 {
			t.Errorf("%q has %d events, want 3: %v", id, len(got), got)
		}
	}
}

func TestRenderStep(t *testing.T) {
	e := Event{ID: "e", ParentID: "c", Action: "ValueCreated", Timestamp: 7, Data: Change{ValueID: "v/w", Value: NumberOf(3)}}
	got, err := renderStep(nil, stepKey("v/w", 12), e)
	want := `{"number":12,"event":"e","command":"c","action":"ValueCreated","operation":"","value":3.0,"result":3.0,"timestamp":7}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	if _, err := renderStep(nil, "no number", e); err == nil {
		t.Error("a key without a number is rendered")
	}
}
