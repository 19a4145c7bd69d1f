package ordering

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/commands/subscriptions"
	"github.com/tidemill/tidemill/topology"
)

// subscribed tells clients what became of their commands.
type subscribed struct {
	config Config
	built  *topology.Topology
	inner  *subscriptions.Subscriptions
}

func newSubscriptions(config Config, built *topology.Topology) (*subscribed, error) {
	inner, err := subscriptions.Open(subscriptions.Config{
		Cluster: config.Kafka, Commands: Commands.Name(), Group: Group,
		Events: []string{Events.Name()}, Rejections: []string{Rejections.Name()}, DeadLetters: []string{DeadLetters},
		Dir:     filepath.Join(config.Dir, "subscriptions", "ordering"),
		EventID: eventID, CommandID: commandID, Tag: customerOf,
		Authorizer: config.Authorizer, Scopes: []string{ScopeRead}, Visible: visible,
		Logger: config.named("subscriptions"), Registerer: config.Metrics,
	})
	if err != nil {
		return nil, err
	}
	return &subscribed{config: config, built: built, inner: inner}, nil
}

// visible lets a principal see what became of its own commands.
func visible(principal auth.Principal, found outcome.Outcome) bool {
	return principal.ID == "" || found.Principal == principal.ID
}

// eventID reads an event's id out of its body.
func eventID(_ string, value []byte) string {
	event, err := Events.Value().Decode(value)
	if err != nil {
		return ""
	}
	return event.ID
}

// commandID reads a command's id out of its body, for commands that another producer wrote.
func commandID(value []byte) string {
	command, err := Commands.Value().Decode(value)
	if err != nil {
		return ""
	}
	return command.ID
}

// customerOf reads the customer out of a command's body.
func customerOf(value []byte) string {
	command, err := Commands.Value().Decode(value)
	if err != nil {
		return ""
	}
	return command.Data.CustomerID
}

// Name implements Component.
func (*subscribed) Name() string { return "subscriptions" }

// Run implements Component.
func (s *subscribed) Run(ctx context.Context) error {
	if err := s.config.prepare(ctx, s.built, s.config.named("subscriptions")); err != nil || ctx.Err() != nil {
		return err
	}
	return s.inner.Run(ctx)
}

// Ready implements Component.
func (s *subscribed) Ready() error {
	if s.inner.Ready() {
		return nil
	}
	return fmt.Errorf("reading outcomes: %d records to go", s.inner.Lag())
}

// Mount implements Component.
func (s *subscribed) Mount(mux *http.ServeMux) { s.inner.Mount(mux) }

// Stopping implements Component.
func (s *subscribed) Stopping() { s.inner.Stop() }

// Close implements Component.
func (s *subscribed) Close() error { return s.inner.Close() }
