// Package follow reads what a processor makes of commands: it follows the topics of events, rejections and dead
// letters, and the commands' own where asked, and tells when the outcome of a command is known, also when it is known
// by silence alone.
//
// A command that was accepted without an event, or that repeats an earlier one, leaves no record. It is settled when
// the processor's group has committed an offset beyond it and everything that was in the outcome topics after that has
// been read. "Everything" is the high-water mark and not the last stable offset: the markers of one transaction reach
// the partitions at different times, so that the group's offset may be visible before the events of the same
// transaction are, and the high-water mark lies behind those.
package follow

import (
	"encoding/json"
	"strconv"

	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/meta"
)

// Place is where a command lies in the one topic of commands.
type Place struct {
	Partition int32
	Offset    int64
}

// Record is one record as the log gave it. Control marks a transaction's marker, which has a place and nothing else.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp int64 // milliseconds since the epoch
	Key       []byte
	Value     []byte
	Headers   []Header
	Control   bool
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// header returns the value of the last header of that name, as Kafka's clients count.
func (r *Record) header(name string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Command is a command as the topic of commands has it.
type Command struct {
	Place       Place
	ID          string
	Key         []byte
	Fingerprint []byte
	Principal   string
	Timestamp   int64
	Tag         string
}

// Kind tells the three kinds of record that are an outcome.
type Kind uint8

// The kinds of outcome record.
const (
	Event Kind = iota + 1
	Rejection
	DeadLetter
)

// Entry is one event, rejection or dead letter, traced back to its command.
type Entry struct {
	Kind      Kind
	Topic     string
	Partition int32
	Offset    int64
	Cause     Place
	Command   string // the command's id; may be empty for a dead letter
	Key       []byte
	ID        string // the event's or rejection's own
	Reason    string
	Why       string // the kind of rejection, or of failure
	Timestamp int64
}

// Conflict reports whether the entry concerns a second command under one id, and so not the id's own outcome.
func (e *Entry) Conflict() bool {
	return e.Kind == Rejection && e.Why == outcome.KindIdempotencyConflict
}

// rejectionBody is topology's Rejection on the wire.
type rejectionBody struct {
	ID     string `json:"id"`
	Parent string `json:"parent-id"`
	Data   struct {
		Kind   string `json:"kind"`
		Reason string `json:"reason"`
	} `json:"data"`
}

// decodeEntry traces a record back to its command. It returns false for one that has no trace: another producer's.
func (t *Topics) decodeEntry(kind Kind, r *Record) (Entry, bool) {
	entry := Entry{
		Kind: kind, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Timestamp: r.Timestamp,
	}
	if id, ok := r.header(meta.Command); ok {
		entry.Command = string(id)
	}
	if kind == DeadLetter {
		return t.decodeDeadLetter(entry, r)
	}
	cause, ok := r.header(meta.Cause)
	if !ok {
		return Entry{}, false
	}
	var err error
	if entry.Cause.Partition, entry.Cause.Offset, err = meta.ParseCause(cause); err != nil {
		return Entry{}, false
	}
	if kind == Event {
		if t.EventID != nil {
			entry.ID = t.EventID(r.Topic, r.Value)
		}
		return entry, entry.Command != ""
	}
	var body rejectionBody
	if json.Unmarshal(r.Value, &body) != nil {
		// The headers say that it is a rejection and of what; only the reason is lost.
		body = rejectionBody{}
		body.Data.Reason = "the rejection does not decode"
	}
	if entry.Command == "" {
		entry.Command = body.Parent
	}
	entry.ID, entry.Why, entry.Reason = body.ID, body.Data.Kind, body.Data.Reason
	return entry, entry.Command != ""
}

// decodeDeadLetter reads the dead letter of a command; those of other topics' records are no outcome of a command.
func (t *Topics) decodeDeadLetter(entry Entry, r *Record) (Entry, bool) {
	if topic, ok := r.header(meta.DeadTopic); !ok || string(topic) != t.Commands {
		return Entry{}, false
	}
	partition, _ := r.header(meta.DeadPartition)
	offset, _ := r.header(meta.DeadOffset)
	p, err := strconv.ParseInt(string(partition), 10, 32)
	if err != nil || p < 0 {
		return Entry{}, false
	}
	o, err := strconv.ParseInt(string(offset), 10, 64)
	if err != nil || o < 0 {
		return Entry{}, false
	}
	entry.Cause = Place{Partition: int32(p), Offset: o}
	if why, ok := r.header(meta.DeadKind); ok {
		entry.Why = string(why)
	}
	if reason, ok := r.header(meta.DeadError); ok {
		entry.Reason = string(reason)
	}
	if entry.Command == "" && t.CommandID != nil {
		entry.Command = t.CommandID(r.Value)
	}
	return entry, true
}

// decodeCommand reads a command's id and key; the id is empty where neither header nor application tells it.
func (t *Topics) decodeCommand(r *Record) Command {
	command := Command{
		Place: Place{Partition: r.Partition, Offset: r.Offset}, Key: r.Key, Timestamp: r.Timestamp,
	}
	if id, ok := r.header(meta.Command); ok {
		command.ID = string(id)
	} else if t.CommandID != nil {
		command.ID = t.CommandID(r.Value)
	}
	if fingerprint, ok := r.header(meta.Fingerprint); ok {
		command.Fingerprint = fingerprint
	}
	if principal, ok := r.header(meta.Principal); ok {
		command.Principal = string(principal)
	}
	if t.Tag != nil {
		command.Tag = t.Tag(r.Value)
	}
	return command
}
