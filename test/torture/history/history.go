// Package history decides whether what happened in a fault campaign was right: it compares the topics, as an independent
// read_committed reader saw them, and what clients were told, with a sequential model of the calculator.
//
// It reads nothing by itself and has no clock: a history is data, so that tests can feed it doctored ones.
package history

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/internal/meta"
)

// Topic is what a topic holds, by partition, in the order of offsets, without control records.
type Topic map[int32][]*kgo.Record

// Topics are the calculator's. The changelog must not have been compacted.
type Topics struct {
	Commands, Events, Rejections, DeadLetters, Changelog Topic
}

// Operation is what one client wanted, with all its attempts under one Idempotency-Key, or one read.
type Operation struct {
	// Key is the value's id.
	Key string
	// Read says that it is a read; else it is a write.
	Read bool
	// Conflicting says of a write that its Idempotency-Key was used for another body before.
	Conflicting bool
	// Called is when the first attempt was made, and Returned when the last one was answered, since the campaign began.
	Called, Returned time.Duration
	// Status is the last answer's; 0 if there was none, 202 and 503 say that the outcome is not known.
	Status int
	// CommandID is the write's command, "" if no answer named it.
	CommandID string
	// Tokens are the places that acknowledged attempts of a write were given; of a read, the one it was sent with.
	Tokens []Place
	// Shown is the value in the answer; nil if it has none.
	Shown *float64
	// Server names who answered a read. The reads of one server are ordered.
	Server string
	// Status resource's word, such as "accepted"; "" if it was not asked or did not know yet.
	Reported string
}

// Place is a command's in its topic.
type Place struct {
	Partition int32
	Offset    int64
}

// decided tells whether a write's client was told what became of it.
func (o Operation) decided() bool {
	switch o.Status {
	case 200, 201, 404, 409, 422:
		return true
	}
	return false
}

// Report is what the check found.
type Report struct {
	Commands, Events, Rejections, Repeated, Dead int
	// Writes and Reads are the clients' operations that were checked, Keys those whose history is linearizable.
	Writes, Reads, Keys int
	// Problems are what is wrong, empty if all is well. At most maxProblems are told.
	Problems []string
	// Values are the model's last ones.
	Values map[string]float64

	untold  int
	states  map[string][]state // of each key, in the order of the log
	first   map[string]*decision
	byPlace map[Place]*decision
}

// maxProblems bounds what is told: those that follow from the first ones help nobody.
const maxProblems = 40

// state is what a key's value was from a command on.
type state struct {
	place  Place
	id     string // of the command
	exists bool
	value  float64
}

// decision is what must have become of a command.
type decision struct {
	id, key string
	place   Place
	verdict calculatortest.Verdict
	dead    bool
}

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) >= maxProblems {
		r.untold++
		r.Problems[maxProblems-1] = fmt.Sprintf("… and %d more", r.untold+1)
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Check compares topics and operations with the model.
func Check(topics Topics, operations []Operation) *Report {
	r := &Report{
		Values: map[string]float64{}, states: map[string][]state{}, first: map[string]*decision{}, byPlace: map[Place]*decision{},
	}
	r.checkTopics(topics)
	r.checkAnswers(operations)
	r.checkLinearizable(operations)
	return r
}

func headerOf(record *kgo.Record, key string) (value []byte, found bool) {
	for _, header := range record.Headers {
		if header.Key == key {
			value, found = header.Value, true
		}
	}
	return value, found
}

// fingerprint is what tells two bodies under one id apart.
func fingerprint(record *kgo.Record) string {
	if header, ok := headerOf(record, meta.Fingerprint); ok {
		return string(header)
	}
	return "bytes " + string(record.Value)
}

func brief(record *kgo.Record) string {
	return fmt.Sprintf("%s %d@%d %.200s", record.Topic, record.Partition, record.Offset, record.Value)
}
