package history

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
)

// searchTime bounds the search for a linearization of one key. Longer searches are told as undecided, which is a problem.
const searchTime = 20 * time.Second

// step is an operation as the linearizability checker sees it: a write with what became of it, or a read.
type step struct {
	read    bool
	verdict calculatortest.Verdict // of a write
	value   float64                // after an accepted write; shown by a read
	exists  bool                   // whether a read found it
}

// register is a key's value.
type register struct {
	exists bool
	value  uint64
}

// model is the value as an object: writes apply the operation at some instant between call and return, and reads show it.
// The result of every write comes from the sequential model of the log; that the log's order fits what clients saw, when they
// saw it, is what is searched for.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(before, input, _ any) (bool, any) {
			at, s := before.(register), input.(step)
			switch {
			case s.read:
				return s.exists == at.exists && (!s.exists || math.Float64bits(s.value) == at.value), at
			case s.verdict.Event == nil:
				return accepts(at, s.verdict), at
			}
			return follows(at, s), register{true, math.Float64bits(s.value)}
		},
		DescribeOperation: func(input, _ any) string {
			s := input.(step)
			if s.read {
				return "read " + number(s.value)
			}
			return "write, then " + number(s.value)
		},
	}
}

// accepts tells whether a rejection is right in a state.
func accepts(at register, verdict calculatortest.Verdict) bool {
	switch verdict.Kind {
	case "not-found":
		return !at.exists
	case "conflict":
		return at.exists
	}
	return true
}

// follows tells whether an accepted write leads from a state to its result.
func follows(at register, s step) bool {
	event := s.verdict.Event
	value := math.Float64frombits(at.value)
	switch {
	case event.Action == "ValueCreated":
		return !at.exists
	case !at.exists:
		return false
	case event.Data.Operation == "ADD":
		return value+event.Data.Value.Float64() == s.value
	}
	return value*event.Data.Value.Float64() == s.value
}

// checkLinearizable searches, for each key and server, an order of all writes and that server's reads which respects when they
// were called and answered.
func (r *Report) checkLinearizable(operations []Operation) {
	named := map[string]bool{}
	writes, reads := map[string][]porcupine.Operation{}, map[string]map[string][]porcupine.Operation{}
	for _, o := range operations {
		switch {
		case o.Read && (o.Status == 200 || o.Status == 404):
			s := step{read: true, exists: o.Shown != nil}
			if s.exists {
				s.value = *o.Shown
			}
			if reads[o.Key] == nil {
				reads[o.Key] = map[string][]porcupine.Operation{}
			}
			reads[o.Key][o.Server] = append(reads[o.Key][o.Server], porcupine.Operation{Input: s, Call: int64(o.Called), Return: int64(o.Returned)})
		case !o.Read && !o.Conflicting && r.first[o.CommandID] != nil:
			named[o.CommandID] = true
			writes[o.Key] = append(writes[o.Key], r.write(o))
		}
	}
	keys := map[string]bool{}
	for _, o := range operations {
		keys[o.Key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		servers := reads[key]
		if len(servers) == 0 {
			servers = map[string][]porcupine.Operation{"": nil}
		}
		all := slices.Concat(writes[key], r.unnamed(key, named))
		right := true
		for _, server := range slices.Sorted(maps.Keys(servers)) {
			switch porcupine.CheckOperationsTimeout(model(), slices.Concat(all, servers[server]), searchTime) {
			case porcupine.Illegal:
				right = false
				r.problem("not linearizable: %s with the reads of %q", key, server)
			case porcupine.Unknown:
				right = false
				r.problem("undecided within %s: is %s linearizable with the reads of %q?", searchTime, key, server)
			case porcupine.Ok:
			}
		}
		if right {
			r.Keys++
		}
	}
}

// unnamed are the writes of a key that are in the log while no answer has named their command: their client may have made them
// at any time.
func (r *Report) unnamed(key string, named map[string]bool) (found []porcupine.Operation) {
	for _, at := range r.states[key] {
		if !named[at.id] {
			found = append(found, porcupine.Operation{Input: step{verdict: r.first[at.id].verdict, value: at.value}, Return: math.MaxInt64})
		}
	}
	return found
}

// write is a write whose effect may come at any time after its call if its client was not told.
func (r *Report) write(o Operation) porcupine.Operation {
	d := r.first[o.CommandID]
	s := step{verdict: d.verdict}
	for _, at := range r.states[o.Key] {
		if at.id == o.CommandID {
			s.value = at.value
		}
	}
	end := int64(math.MaxInt64)
	if o.decided() {
		end = int64(o.Returned)
	}
	return porcupine.Operation{Input: s, Call: int64(o.Called), Return: end}
}

func number(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }
