package history

import (
	"math"
	"slices"

	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/topology"
)

// checkAnswers wants that everything clients were told is true.
func (r *Report) checkAnswers(operations []Operation) {
	called := map[string]Operation{} // by command
	for _, o := range operations {
		if !o.Read && o.CommandID != "" && !o.Conflicting {
			called[o.CommandID] = o
		}
	}
	for _, o := range operations {
		if o.Read {
			r.Reads++
			r.checkRead(o, called)
			continue
		}
		r.Writes++
		r.checkWrite(o, called)
	}
}

// checkWrite checks an answer to a command.
func (r *Report) checkWrite(o Operation, called map[string]Operation) {
	for _, token := range o.Tokens {
		if d := r.byPlace[token]; d == nil || d.id != o.CommandID {
			r.problem("lost: command %s was acknowledged at %v, which holds %s", o.CommandID, token, describe(d))
			return
		}
	}
	if o.Status == 0 || o.Status == 503 {
		return
	}
	first := r.first[o.CommandID]
	if o.Conflicting {
		r.checkConflicting(o, first)
		return
	}
	if first == nil {
		r.problem("lost: command %s on %s was answered %d and is not in the log", o.CommandID, o.Key, o.Status)
		return
	}
	if want := first.status(); o.Status != 202 && want != o.Status && (want != 200 || o.Status != 201) {
		r.problem("false: command %s on %s was answered %d, and it is %s", o.CommandID, o.Key, o.Status, describe(first))
	}
	if want := first.reported(); o.Reported != "" && o.Reported != want {
		r.problem("false: the status of command %s was told as %q, and it is %s", o.CommandID, o.Reported, want)
	}
	if o.Shown != nil {
		r.checkShown(o, first.place, called)
	}
}

// checkConflicting checks the answer to a key that was used for another body: the refusal may come at once, and then nothing
// is in the log, or from the processor.
func (r *Report) checkConflicting(o Operation, first *decision) {
	switch o.Status {
	case 202, 422:
	default:
		r.problem("false: the second body under command %s was answered %d", o.CommandID, o.Status)
	}
	if first == nil {
		r.problem("false: a second body under command %s is known, and the first is not in the log", o.CommandID)
		return
	}
	for _, token := range o.Tokens {
		if d := r.byPlace[token]; d.verdict.Kind != topology.IdempotencyConflict {
			r.problem("doubled: the second body under command %s, at %v, is %s", o.CommandID, token, describe(d))
		}
	}
}

// checkRead checks a read against its token.
func (r *Report) checkRead(o Operation, called map[string]Operation) {
	if o.Status != 200 && o.Status != 404 {
		return
	}
	after := Place{Offset: -1}
	for _, token := range o.Tokens {
		after = token
		if r.byPlace[token] == nil {
			r.problem("lost: a read was made with the token %v, where no command is", token)
			return
		}
	}
	r.checkShown(o, after, called)
}

// checkShown wants that a value in an answer was its key's at a command's place or later, and not one of the future.
func (r *Report) checkShown(o Operation, after Place, called map[string]Operation) {
	states := r.states[o.Key]
	// The last state at or before the place is the earliest one that may be shown.
	from := 0
	for i, s := range states {
		if s.place.Offset <= after.Offset {
			from = i + 1
		}
	}
	matches := func(s state) bool {
		return s.exists == (o.Shown != nil) && (o.Shown == nil || math.Float64bits(s.value) == math.Float64bits(*o.Shown))
	}
	if from == 0 && o.Shown == nil {
		return
	}
	if slices.ContainsFunc(states[max(0, from-1):], func(s state) bool { return matches(s) && called[s.id].Called <= o.Returned }) {
		return
	}
	shown := "nothing"
	if o.Shown != nil {
		shown = number(*o.Shown)
	}
	switch {
	case slices.ContainsFunc(states[:max(0, from-1)], matches):
		r.problem("stale: %s was shown as %s to a client with the token %v; that is from before", o.Key, shown, after)
	default:
		r.problem("false: %s was shown as %s, which it is not from %v on, or not yet", o.Key, shown, after)
	}
}

// status is what a client must be told of a command.
func (d *decision) status() int {
	switch {
	case d.dead:
		return 500
	case d.verdict.Event != nil:
		return 200
	}
	return outcome.Outcome{Status: outcome.Rejected, Kind: string(d.verdict.Kind)}.HTTPStatus()
}

// reported is what the command's status resource must say.
func (d *decision) reported() string {
	switch {
	case d.dead:
		return string(outcome.Failed)
	case d.verdict.Event != nil:
		return string(outcome.Accepted)
	}
	return string(outcome.Rejected)
}

func describe(d *decision) string {
	switch {
	case d == nil:
		return "nothing"
	case d.dead:
		return "command " + d.id + ", which cannot be processed"
	case d.verdict.Event != nil:
		return "command " + d.id + ", accepted"
	case d.verdict.Repeated:
		return "command " + d.id + ", again"
	}
	return "command " + d.id + ", rejected: " + string(d.verdict.Kind)
}
