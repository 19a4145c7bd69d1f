package topologytest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/topology"
	"github.com/tidemill/tidemill/topology/topologytest"
)

// move is a command of the account in these tests.
type move struct {
	ID     string `json:"id"`
	Amount int    `json:"amount"`
}

// moved is its event.
type moved struct {
	ID     string `json:"id"`
	Amount int    `json:"amount"`
	Result int    `json:"result"`
}

var (
	moveTopic      = topology.NewTopic("bank-moves", codecs.String(), codecs.JSON[move]())
	movedTopic     = topology.NewTopic("bank-moved", codecs.String(), codecs.JSON[moved]())
	rejectionTopic = topology.NewTopic("bank-rejections", codecs.String(), codecs.JSON[topology.Rejection]())
	sumTopic       = topology.NewTopic("bank-sums", codecs.String(), codecs.Int64())
)

// account is a decider whose state is changed in place, as a careless user's would be.
type account struct {
	Balance int         `json:"balance"`
	Moves   map[int]int `json:"moves"`
}

func accounts() topology.Decider[string, move, moved, *account] {
	return topology.Decider[string, move, moved, *account]{
		ID: func(m move) string { return m.ID },
		Decide: func(a *account, found bool, m move) topology.Decision[moved] {
			balance := 0
			if found {
				balance = a.Balance
			}
			switch {
			case m.Amount == 0:
				return topology.Ignore[moved]()
			case balance+m.Amount < 0:
				return topology.Reject[moved](topology.Conflict, "the account would be overdrawn")
			}
			return topology.Accept(moved{ID: topology.DeriveID(m.ID, 0), Amount: m.Amount, Result: balance + m.Amount})
		},
		Evolve: func(a *account, found bool, m moved) *account {
			if !found {
				a = &account{Moves: map[int]int{}}
			}
			a.Balance += m.Amount
			a.Moves[m.Amount]++
			return a
		},
		Deleted: func(a *account) bool { return a.Balance == 0 },
	}
}

// bank has a decider, and behind a repartition the sum of all amounts by their size.
func bank(t testing.TB) (*topology.Topology, topology.Decided[string, moved, *account]) {
	t.Helper()
	b := topology.New("bank")
	decided := b.From(moveTopic).Decide("accounts", accounts())
	decided.Events.To(movedTopic)
	decided.Rejections.To(rejectionTopic)
	decided.Events.WithValue(codecs.JSON[moved]()).
		GroupBy(func(_ string, m moved) string { return fmt.Sprint(len(fmt.Sprint(m.Amount))) }, codecs.String()).
		Aggregate("sums", func() int64 { return 0 }, func(_ string, m moved, sum int64) int64 { return sum + int64(m.Amount) }, codecs.Int64()).
		ToStream().To(sumTopic)
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built, decided
}

// moves is a script of n commands: new ones, repeated ones, the same id with another body, broken ones.
func moves(seed uint64, n int) []func(*topologytest.Driver) {
	random := rand.New(rand.NewPCG(seed, 0))
	var script []func(*topologytest.Driver)
	for i := range n {
		key := fmt.Sprint("account-", random.IntN(12))
		m := move{ID: fmt.Sprint("move-", i), Amount: random.IntN(400) - 150}
		if i > 0 && random.IntN(8) == 0 {
			m.ID = fmt.Sprint("move-", random.IntN(i))
		}
		at := topologytest.At(int64(1_000_000 + i*1000 + random.IntN(5000)))
		if random.IntN(25) == 0 {
			script = append(script, func(d *topologytest.Driver) {
				d.PipeBytes("bank-moves", []byte(key), []byte(`{"id":`), at)
			})
			continue
		}
		script = append(script, func(d *topologytest.Driver) {
			topologytest.Input(d, moveTopic).Pipe(key, m, at, topologytest.Header("user", "u-"+key))
		})
	}
	return script
}

// TestEveryStepOfADecider crashes at each moment of a script of 200 commands.
func TestEveryStepOfADecider(t *testing.T) {
	built, _ := bank(t)
	for _, test := range []struct {
		partitions      int32
		every, commands int
	}{{3, 7, 200}, {1, 1, 40}} {
		t.Run(fmt.Sprintf("%d commands, %d partitions, commit every %d", test.commands, test.partitions, test.every), func(t *testing.T) {
			const seed = 20261121
			begin := time.Now()
			topologytest.EveryStep(t, built, moves(seed, test.commands), topologytest.Partitions(test.partitions), topologytest.CommitEvery(test.every))
			t.Logf("seed %d, %v", seed, time.Since(begin))
		})
	}
}
