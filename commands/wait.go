package commands

import (
	"context"
	"errors"

	"github.com/tidemill/tidemill/commands/outcome"
)

// Outcomes tells what became of a command. Implementations are used by many goroutines at once.
type Outcomes interface {
	// Await returns the outcome of the command at that position once it is known, or a pending one and ctx's error. Of a
	// retry under an id whose first outcome it cannot know, it returns outcome.Settled.
	Await(ctx context.Context, command outcome.Command) (outcome.Outcome, error)
}

// Fingerprints is implemented by Outcomes that remember what was asked for under an id.
type Fingerprints interface {
	// Fingerprint returns the fingerprint of the first command under an id, if there is one that has one.
	Fingerprint(ctx context.Context, id string) (fingerprint []byte, known bool, err error)
}

// Positions tells when a view shows what a command led to.
type Positions interface {
	// Await returns nil once a query to the view sees the effect of the command at that position, or an error; ctx bounds
	// the wait.
	Await(ctx context.Context, position outcome.Position) error
}

// AllPositions waits for several views, one after the other.
func AllPositions(views ...Positions) Positions { return allPositions(views) }

type allPositions []Positions

// Await implements Positions.
func (all allPositions) Await(ctx context.Context, position outcome.Position) error {
	var wrong []error
	for _, view := range all {
		wrong = append(wrong, view.Await(ctx, position))
	}
	return errors.Join(wrong...)
}

// waitFor returns the outcome as far as it is known when ctx is done, and whether the view shows it too.
func (c *Commander[K, C]) waitFor(ctx context.Context, command outcome.Command) (found outcome.Outcome, shown bool) {
	found = outcome.Outcome{ID: command.ID, Status: outcome.Pending, Token: command.Position.String()}
	if c.outcomes == nil {
		return found, false
	}
	timer := c.metrics.waited("outcome")
	got, err := c.outcomes.Await(ctx, command)
	if err == nil && got.Status == outcome.Settled && c.config.History != nil {
		got, err = c.config.History.Await(ctx, command)
	}
	timer()
	switch {
	case err != nil && ctx.Err() == nil:
		c.config.Logger.Warn("the outcome of a command could not be asked for", "command", command.ID, "error", err)
		return found, false
	case err != nil:
		return found, false
	}
	got.ID, got.Token = command.ID, found.Token
	if got.Status != outcome.Accepted || c.config.Positions == nil {
		return got, true
	}
	timer = c.metrics.waited("view")
	err = c.config.Positions.Await(ctx, command.Position)
	timer()
	if err != nil && ctx.Err() == nil {
		c.config.Logger.Warn("the view could not be asked for its position", "command", command.ID, "error", err)
	}
	return got, err == nil
}
