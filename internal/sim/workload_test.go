package sim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/sim"
	"github.com/tidemill/tidemill/internal/task"
	"github.com/tidemill/tidemill/topology"
)

// The accounts: a decider like the calculator's, whose states are deleted too and are changed in place.
type (
	command struct {
		ID     string `json:"id"`
		Action string `json:"action"` // open, add or close
		Amount int64  `json:"amount"`
	}
	event struct {
		ID      string `json:"id"`
		Command string `json:"command"`
		Action  string `json:"action"`
		Amount  int64  `json:"amount"`
		Total   int64  `json:"total"`
	}
	account struct {
		Total  int64   `json:"total"`
		Recent []int64 `json:"recent"` // the last three amounts
		Closed bool    `json:"closed"`
	}
)

const application = "sim"

var (
	commands   = topology.NewTopic("sim-commands", codecs.String(), codecs.JSON[command]())
	events     = topology.NewTopic("sim-events", codecs.String(), codecs.JSON[event]())
	rejections = topology.NewTopic("sim-rejections", codecs.String(), codecs.JSON[topology.Rejection]())
)

func decide(a account, found bool, c command) topology.Decision[event] {
	e := event{ID: topology.DeriveID(c.ID, 0), Command: c.ID, Action: c.Action, Amount: c.Amount, Total: a.Total + c.Amount}
	switch {
	case c.Action == "open" && found:
		return topology.Reject[event](topology.Conflict, "it is open")
	case c.Action != "open" && !found:
		return topology.Reject[event](topology.NotFound, "it is not open")
	case c.Amount < 0:
		return topology.Reject[event](topology.Invalid, "the amount is negative")
	case c.Amount == 0 && c.Action == "add":
		return topology.Ignore[event]()
	}
	return topology.Accept(e)
}

// evolve changes the state in place, as far as it can.
func evolve(a account, _ bool, e event) account {
	if len(a.Recent) == 3 {
		copy(a.Recent, a.Recent[1:])
		a.Recent[2] = e.Amount
	} else {
		a.Recent = append(a.Recent, e.Amount)
	}
	a.Total, a.Closed = e.Total, e.Action == "close"
	return a
}

// accounts is the workload.
type accounts struct{ sub *graph.SubTopology }

func newAccounts(t testing.TB) accounts {
	b := topology.New(application)
	decided := b.From(commands).Decide("accounts", topology.Decider[string, command, event, account]{
		ID: func(c command) string { return c.ID }, Decide: decide, Evolve: evolve, Deleted: func(a account) bool { return a.Closed },
	})
	decided.Events.To(events)
	decided.Rejections.To(rejections)
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return accounts{sub: built.Graph().SubTopologies[0]}
}

// SubTopology implements sim.Workload.
func (a accounts) SubTopology() *graph.SubTopology { return a.sub }

// Outputs implements sim.Workload.
func (a accounts) Outputs() []string {
	return []string{events.Name(), rejections.Name(), graph.DeadLetterTopic(application)}
}

const ids = 64 // a command's id is one of so many: some come twice, with the same body or another

// Command implements sim.Workload.
func (a accounts) Command(random *rand.Rand, now int64) task.Record {
	r := task.Record{Key: []byte("account-" + strconv.Itoa(random.IntN(6))), Timestamp: now - random.Int64N(2000)}
	if random.IntN(10) == 0 {
		r.Timestamp += random.Int64N(3_600_000) - 1_800_000 // a producer's clock
	}
	if random.IntN(40) == 0 {
		r.Value = []byte("{")
		return r
	}
	c := command{ID: fmt.Sprintf("%s-%d", r.Key, random.IntN(ids)), Amount: random.Int64N(20)}
	switch dice := random.IntN(10); {
	case dice < 3:
		c.Action = "open"
	case dice < 8:
		c.Action, c.Amount = "add", random.Int64N(20)-2
	default:
		c.Action = "close"
	}
	if random.IntN(4) == 0 { // its body follows from its id, so that it comes again
		c.Action, c.Amount = "add", int64(len(c.ID))
	}
	r.Value, _ = json.Marshal(c)
	return r
}

// Model implements sim.Workload.
func (a accounts) Model(partition, _ int32) sim.Model {
	return &model{partition: partition, rows: map[string]string{}, accounts: map[string]account{}, seen: map[string]sighting{}}
}

// model is the accounts as a person would write them for one thread and no failures.
type model struct {
	partition  int32
	rows       map[string]string
	accounts   map[string]account
	seen       map[string]sighting
	streamTime int64
}

type sighting struct {
	body string
	at   int64
}

// Rows implements sim.Model.
func (m *model) Rows() map[string]string { return m.rows }

// Apply implements sim.Model.
func (m *model) Apply(r task.Record) []sim.Output {
	m.streamTime = max(m.streamTime, r.Timestamp)
	var c command
	if json.Unmarshal(r.Value, &c) != nil {
		return []sim.Output{{Topic: graph.DeadLetterTopic(application), Text: fmt.Sprintf("dead letter %s %d", r.Key, r.Offset)}}
	}
	reject := func(kind topology.RejectionKind) []sim.Output {
		return []sim.Output{{Topic: rejections.Name(), Text: fmt.Sprintf("%s %s %s %s@%d of %d", r.Key, topology.DeriveID(c.ID, -1), c.ID, kind, r.Timestamp, r.Offset)}}
	}
	if first, known := m.seen[c.ID]; known && m.streamTime-first.at < topology.DefaultHorizon.Milliseconds() {
		if first.body == string(r.Value) {
			return nil
		}
		return reject(topology.IdempotencyConflict)
	}
	m.seen[c.ID] = sighting{body: string(r.Value), at: m.streamTime}
	key := string(r.Key)
	present, found := m.accounts[key]
	switch {
	case c.Action == "open" && found:
		return reject(topology.Conflict)
	case c.Action != "open" && !found:
		return reject(topology.NotFound)
	case c.Amount < 0:
		return reject(topology.Invalid)
	case c.Amount == 0 && c.Action == "add":
		return nil
	}
	recent := append(append([]int64{}, present.Recent...), c.Amount)
	next := account{Total: present.Total + c.Amount, Recent: recent[max(0, len(recent)-3):]}
	if c.Action == "close" {
		delete(m.accounts, key)
		delete(m.rows, key)
	} else {
		row, _ := json.Marshal(next)
		m.accounts[key], m.rows[key] = next, string(row)
	}
	return []sim.Output{{Topic: events.Name(), Text: fmt.Sprintf("%s %s %s %s %d=%d@%d of %d", key, topology.DeriveID(c.ID, 0), c.ID, c.Action, c.Amount, next.Total, r.Timestamp, r.Offset)}}
}

// Text implements sim.Workload.
func (a accounts) Text(r task.Record) string {
	var offset int64 = -1
	var id string
	for _, header := range r.Headers {
		switch header.Key {
		case meta.Cause:
			_, offset, _ = meta.ParseCause(header.Value)
		case meta.Command:
			id = string(header.Value)
		case meta.DeadOffset:
			return fmt.Sprintf("dead letter %s %s", r.Key, header.Value)
		}
	}
	if r.Topic == rejections.Name() {
		var rejection topology.Rejection
		if err := json.Unmarshal(r.Value, &rejection); err != nil || rejection.CommandID != id {
			return fmt.Sprintf("%q under %s (%v)", r.Value, id, err)
		}
		return fmt.Sprintf("%s %s %s %s@%d of %d", r.Key, rejection.ID, rejection.CommandID, rejection.Data.Kind, r.Timestamp, offset)
	}
	var e event
	if err := json.Unmarshal(r.Value, &e); err != nil || e.Command != id {
		return fmt.Sprintf("%q under %s (%v)", r.Value, id, err)
	}
	return fmt.Sprintf("%s %s %s %s %d=%d@%d of %d", r.Key, e.ID, e.Command, e.Action, e.Amount, e.Total, r.Timestamp, offset)
}
