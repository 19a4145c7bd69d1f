package ordering

import (
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/commands/subscriptions"
	"github.com/tidemill/tidemill/topology"
)

// newSubscriptions returns the component that tells clients what became of their commands.
func newSubscriptions(config service.Config, built *topology.Topology) (*service.Subscriptions, error) {
	eventID := service.Field(Events.Value(), func(e Event) string { return e.ID })
	return service.NewSubscriptions(config, built, subscriptions.Config{
		Commands:  Commands.Name(),
		CommandID: service.Field(Commands.Value(), func(c Command) string { return c.ID }),
		Tag:       service.Field(Commands.Value(), func(c Command) string { return c.Data.CustomerID }),
		Group:     Group, Events: []string{Events.Name()}, Rejections: []string{Rejections.Name()}, DeadLetters: []string{DeadLetters},
		EventID: func(_ string, value []byte) string { return eventID(value) },
		Scopes:  []string{ScopeRead}, Visible: visible,
	})
}

// visible lets a principal see what became of its own commands.
func visible(principal auth.Principal, found outcome.Outcome) bool {
	return principal.ID == "" || found.Principal == principal.ID
}
