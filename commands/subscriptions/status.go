package subscriptions

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/internal/prefer"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/problem"
)

// glance is how long a status waits, where nobody asked it to, to tell an outcome that left no record from one that is
// still to come.
const glance = 50 * time.Millisecond

// maxID bounds an id in a URL, in bytes.
const maxID = 1024

// serveStatus answers GET /commands/{id}.
func (s *Subscriptions) serveStatus(w http.ResponseWriter, r *http.Request) {
	principal, ok := auth.Check(w, r, s.config.Authorizer, s.config.Scopes...)
	if !ok {
		return
	}
	id := r.PathValue("id")
	if id == "" || len(id) > maxID {
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: "the id has no or too many characters"})
		return
	}
	var position *outcome.Position
	if text := r.URL.Query().Get("token"); text != "" {
		parsed, err := outcome.ParsePosition(text)
		if err != nil || parsed.Topic != s.config.Commands {
			problem.Write(w, problem.Details{Status: http.StatusBadRequest, Detail: "the token is not one of a command followed here"})
			return
		}
		position = &parsed
	}
	wait := s.wait(w, r)
	ctx, cancel := context.WithTimeout(r.Context(), max(wait, glance))
	defer cancel()
	found, known, err := s.status(ctx, id, position, wait > 0)
	switch {
	case err != nil && ctx.Err() == nil:
		s.config.Logger.Error("the status of a command could not be read", "command", id, "error", err)
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Detail: "the store of outcomes cannot be read at the moment", RetryAfter: time.Second,
		})
	case !known || !s.visible(principal, found):
		s.metrics.statuses.WithLabelValues("unknown").Inc()
		problem.Write(w, problem.Details{
			Status: http.StatusNotFound, Detail: "no command of this id is known; it is not there, not yet, or not any more",
		})
	default:
		s.metrics.statuses.WithLabelValues(string(found.Status)).Inc()
		writeOutcome(w, found)
	}
}

// wait is how long the client asks to wait.
func (s *Subscriptions) wait(w http.ResponseWriter, r *http.Request) time.Duration {
	preferences := prefer.Parse(r.Header)
	if !preferences.HasWait {
		return 0
	}
	wait := min(preferences.Wait, s.config.MaxWait)
	w.Header().Set("Preference-Applied", "wait="+prefer.Seconds(wait))
	return wait
}

func (s *Subscriptions) visible(principal auth.Principal, found outcome.Outcome) bool {
	return s.config.Visible == nil || s.config.Visible(principal, found)
}

func writeOutcome(w http.ResponseWriter, found outcome.Outcome) {
	body, err := json.Marshal(found)
	if err != nil {
		// Strings and integers: there is nothing that JSON cannot hold.
		body = []byte("{}")
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // the client is gone when this fails
}

// status returns the outcome under an id, or of the command at a position. An unknown command is waited for only if
// patient.
func (s *Subscriptions) status(ctx context.Context, id string, position *outcome.Position, patient bool) (outcome.Outcome, bool, error) {
	if position != nil {
		found, err := s.awaitFull(ctx, id, *position)
		return found, found.Known() || s.knows(*position), err
	}
	watch := s.follower.Watch(follow.CommandTopic(id))
	defer s.follower.Unwatch(watch)
	for {
		place, known, err := s.index.First(id)
		if err != nil {
			return outcome.Outcome{}, false, err
		}
		if known {
			at := outcome.Position{Topic: s.config.Commands, Partition: place.Partition, Offset: place.Offset}
			found, err := s.awaitFull(ctx, id, at)
			return found, true, err
		}
		if !patient {
			return outcome.Outcome{}, false, nil
		}
		select {
		case <-ctx.Done():
			return outcome.Outcome{}, false, nil
		case <-watch.C:
		}
	}
}

// awaitFull is Await with all that is known of the command, and with pending as an answer.
func (s *Subscriptions) awaitFull(ctx context.Context, id string, at outcome.Position) (outcome.Outcome, error) {
	found, err := s.Await(ctx, outcome.Command{ID: id, Position: at})
	if err != nil && ctx.Err() == nil {
		return found, err
	}
	return found, s.describe(&found, at)
}

func (s *Subscriptions) knows(position outcome.Position) bool {
	_, found, err := s.index.command(follow.Place{Partition: position.Partition, Offset: position.Offset})
	return err == nil && found
}
