package calculator

import (
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/subscriptions"
)

// Subscriptions returns the component that tells clients what became of their commands.
func Subscriptions(config Config) (service.Component, error) { return newSubscriptions(config) }

func newSubscriptions(config Config) (*service.Subscriptions, error) {
	calculator, _, err := Topology()
	if err != nil {
		return nil, err
	}
	return service.NewSubscriptions(config.Named("subscriptions"), calculator, subscriptions.Config{
		Commands: Commands.Name(), CommandID: service.Field(Commands.Value(), func(c Command) string { return c.ID }),
		Group: outputs.Group, Events: outputs.Events, Rejections: outputs.Rejections, DeadLetters: outputs.DeadLetters, EventID: outputs.EventID,
		Scopes: []string{ScopeRead},
	})
}

// outputs are where outcomes are found.
var outputs = commands.Outputs{
	Group: Group, Events: []string{Events.Name()}, Rejections: []string{Rejections.Name()}, DeadLetters: []string{DeadLetters},
	EventID: func(_ string, value []byte) string { return eventID(value) },
}

// eventID reads an event's id out of its body.
var eventID = service.Field(Events.Value(), func(e Event) string { return e.ID })
