// Package outcome says what became of a command: the one vocabulary that the commander, the subscriptions and their
// clients share.
//
// A command's outcome is known by its position in the log first and by its id second. A retry under the same id leaves
// no record of its own, so it has the outcome of the first command with that id; only a rejection of kind
// [KindIdempotencyConflict] belongs to the retry alone.
package outcome

import (
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/internal/token"
)

// Position is the place of a command in the log; its text is the read-your-writes token.
type Position = token.Token

// ParsePosition reads a token as clients send it. The error says what is wrong with it.
func ParsePosition(text string) (Position, error) { return token.Parse(text) }

// Status is how far a command has come.
type Status string

// The states of a command. Pending is the only one that changes.
const (
	// Pending means that the command is in the log and the processor has not decided yet.
	Pending Status = "pending"
	// Accepted means that the decider took the command; it may have led to any number of events, also none.
	Accepted Status = "accepted"
	// Rejected means that the decider refused the command: Kind and Reason say why, nothing was changed.
	Rejected Status = "rejected"
	// Failed means that the command could not be decided upon and lies in the dead-letter topic.
	Failed Status = "failed"
	// Settled means that the command is a retry of an earlier one whose outcome stands but is not known here: ask the
	// subscriptions for it by id.
	Settled Status = "settled"
)

// The kinds of rejection that have a meaning in HTTP. An application may use others.
const (
	KindNotFound            = "not-found"
	KindConflict            = "conflict"
	KindInvalid             = "invalid"
	KindIdempotencyConflict = "idempotency-conflict"
)

// Event is one event that a command led to.
type Event struct {
	// ID is the event's id, as the application reads it out of the event; may be empty.
	ID string `json:"id,omitempty"`
	// Topic, Partition and Offset are the event's place in the log.
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Outcome is what became of one command.
type Outcome struct {
	// ID is the command's id.
	ID string `json:"id"`
	// Status is how far the command has come.
	Status Status `json:"status"`
	// Aggregate is the command's key, where it is text.
	Aggregate string `json:"aggregate,omitempty"`
	// Events that the command led to, in the order of the log of each of their topics.
	Events []Event `json:"events,omitempty"`
	// Kind and Reason tell why a command was rejected or failed.
	Kind   string `json:"kind,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Timestamp is the command's, in milliseconds since the epoch.
	Timestamp int64 `json:"timestamp,omitempty"`
	// Token is the command's position.
	Token string `json:"token,omitempty"`
	// Duplicate tells that the command was a retry: the outcome is that of the first command with its id.
	Duplicate bool `json:"duplicate,omitempty"`
	// Principal is who sent the command, where that is known. It is not for clients.
	Principal string `json:"-"`
}

// Known reports whether the outcome is final.
func (o Outcome) Known() bool { return o.Status != Pending && o.Status != "" }

// HTTPStatus returns the status code that tells a client the outcome: 200 for an accepted command, 202 for one whose
// outcome is not known, 404, 409 or 422 for a rejected and 500 for a failed one.
func (o Outcome) HTTPStatus() int {
	switch o.Status {
	case Accepted:
		return http.StatusOK
	case Failed:
		return http.StatusInternalServerError
	case Rejected:
		switch strings.ToLower(o.Kind) {
		case KindNotFound:
			return http.StatusNotFound
		case KindConflict:
			return http.StatusConflict
		}
		return http.StatusUnprocessableEntity
	}
	return http.StatusAccepted
}

// Command names the command whose outcome is asked for.
type Command struct {
	// ID is the command's id.
	ID string
	// Position is where the log took it.
	Position Position
	// Retry tells that an earlier command may have had the same id, as with an idempotency key: silence then means that
	// the first one's outcome stands.
	Retry bool
}
