// Package docs_test holds the documents of this repository against its code: the README's Go is compiled and run here.
package docs_test

import (
	"testing"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

func TestCreateAndMultiply(t *testing.T) {
	top, values, err := calculator.Topology()
	if err != nil {
		t.Fatal(err)
	}
	driver := topologytest.New(t, top)
	commands := topologytest.Input(driver, calculator.Commands)
	events := topologytest.Output(driver, calculator.Events)
	rejections := topologytest.Output(driver, calculator.Rejections)
	create := calculator.Request{ValueID: "v", Value: calculator.NumberOf(3)}
	triple := calculator.Request{ValueID: "v", Operation: "MULTIPLY", Value: calculator.NumberOf(3)}

	commands.Pipe("v", calculator.Command{ID: "1", Action: "CreateValue", Data: create})
	commands.Pipe("v", calculator.Command{ID: "2", Action: "UpdateValue", Data: triple})
	driver.CrashLosingDisk()                                                             // state comes back from the changelog
	commands.Pipe("v", calculator.Command{ID: "2", Action: "UpdateValue", Data: triple}) // a retry: applied once
	commands.Pipe("v", calculator.Command{ID: "3", Action: "CreateValue", Data: create})

	if value, _ := topologytest.Store(driver, values).Get("v"); value.Value.String() != "9.0" {
		t.Errorf("the value is %s, want 9.0", value.Value)
	}
	if n := len(events.ReadAll()); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	if rejection := rejections.Read().Value; rejection.Data.Kind != topology.Conflict {
		t.Errorf("creating it again: %q, want a conflict", rejection.Data.Kind)
	}
}
