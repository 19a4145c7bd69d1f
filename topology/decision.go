package topology

import (
	"crypto/sha1"
	"encoding/binary"

	"github.com/google/uuid"
)

// RejectionKind says, for a machine, why a command was rejected.
type RejectionKind string

// The kinds of rejection. Over HTTP they are 404, 409, 422 and 422.
const (
	NotFound            RejectionKind = "not-found"            // what the command is about does not exist
	Conflict            RejectionKind = "conflict"             // the command is at odds with the present state
	Invalid             RejectionKind = "invalid"              // the command makes no sense in itself
	IdempotencyConflict RejectionKind = "idempotency-conflict" // another command was sent under this id
)

// Rejection says that a command was understood and refused: an outcome, not an error. Its JSON form is
// {"id","parent-id","action":"CommandRejected","data":{"kind","reason"},"timestamp"}.
type Rejection struct {
	ID        string        `json:"id"`        // derived from the command's, the same in every replay
	CommandID string        `json:"parent-id"` // the command's
	Action    string        `json:"action"`    // "CommandRejected"
	Data      RejectionData `json:"data"`
	Timestamp int64         `json:"timestamp"` // of the command's record, milliseconds since the epoch
}

// RejectionData is why.
type RejectionData struct {
	Kind   RejectionKind `json:"kind"`
	Reason string        `json:"reason"` // for a person
}

// rejected is Rejection.Action.
const rejected = "CommandRejected"

// Decision is what a decider makes of a command: events, or a rejection. The zero Decision accepts without an event.
type Decision[E any] struct {
	first    E
	more     []E
	accepted bool // whether first is an event
	kind     RejectionKind
	reason   string
}

// Accept accepts a command with what has happened, in order.
func Accept[E any](event E, more ...E) Decision[E] {
	return Decision[E]{first: event, more: more, accepted: true}
}

// Ignore accepts a command that changes nothing.
func Ignore[E any]() Decision[E] { return Decision[E]{} }

// Reject refuses a command. reason is for a person and reaches the client.
func Reject[E any](kind RejectionKind, reason string) Decision[E] {
	return Decision[E]{kind: kind, reason: reason}
}

// Rejected returns why the command was refused, and whether it was.
func (d Decision[E]) Rejected() (kind RejectionKind, reason string, ok bool) {
	return d.kind, d.reason, d.kind != ""
}

// Events returns the events, in order.
func (d Decision[E]) Events() []E {
	if !d.accepted {
		return nil
	}
	return append([]E{d.first}, d.more...)
}

// derivedNamespace makes derived ids differ from other name-based UUIDs of the same text.
var derivedNamespace = uuid.MustParse("6a2d0d2c-8c2d-5b53-9d0f-5d8a6a3b7f11")

// DeriveID returns the id of the index-th thing that follows from parent, a UUID of version 5 (RFC 9562): the same in every
// replay, on every machine.
func DeriveID(parent string, index int) string {
	buffer := make([]byte, 0, 64)
	buffer = append(buffer, derivedNamespace[:]...)
	buffer = append(buffer, parent...)
	buffer = append(buffer, '/')
	buffer = binary.AppendUvarint(buffer, uint64(index))
	sum := sha1.Sum(buffer)
	var id uuid.UUID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
