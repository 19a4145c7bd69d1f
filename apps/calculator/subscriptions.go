package calculator

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/tidemill/tidemill/commands/subscriptions"
)

// subscribed is the subscriptions component.
type subscribed struct {
	config Config
	inner  *subscriptions.Subscriptions
}

// Subscriptions returns the component that tells clients what became of their commands.
func Subscriptions(config Config) (Component, error) { return newSubscriptions(config) }

func newSubscriptions(config Config) (*subscribed, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	inner, err := subscriptions.Open(subscriptions.Config{
		Cluster: config.Kafka, Commands: Commands.Name(), Group: Group,
		Events: []string{Events.Name()}, Rejections: []string{Rejections.Name()}, DeadLetters: []string{DeadLetters},
		Dir:     filepath.Join(config.Dir, "subscriptions", "calculator"),
		EventID: eventID, CommandID: commandID,
		Authorizer: config.Authorizer, Scopes: []string{ScopeRead},
		Logger: config.named("subscriptions"), Registerer: config.Metrics,
	})
	if err != nil {
		return nil, err
	}
	return &subscribed{config: config, inner: inner}, nil
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

// Name implements Component.
func (*subscribed) Name() string { return "subscriptions" }

// Run implements Component.
func (s *subscribed) Run(ctx context.Context) error {
	if err := s.config.prepare(ctx, s.config.named("subscriptions")); err != nil || ctx.Err() != nil {
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
