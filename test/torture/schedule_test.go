package torture

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// fault is one entry of a round's schedule.
type fault struct {
	at    time.Duration
	what  string
	lasts time.Duration
	dice  uint64 // for what is chosen when it strikes
}

// String returns the entry as the schedule is printed.
func (f fault) String() string {
	return fmt.Sprintf("%7.3fs %-18s for %s", f.at.Seconds(), f.what, f.lasts.Round(time.Millisecond))
}

// choice is a kind of fault, how often it comes, and how long it lasts; only says in which kinds of round, if not in all.
type choice struct {
	what             string
	weight           int
	shortest, longer time.Duration
	only             string
}

const ms = time.Millisecond

var choices = []choice{
	{"kill processor", 26, 0, 800 * ms, ""},
	{"kill view", 9, 0, 1200 * ms, ""},
	{"kill commander", 6, 0, 800 * ms, ""},
	{"kill subscriptions", 4, 0, 800 * ms, ""},
	{"kill everything", 4, 0, 500 * ms, ""},
	{"kill up", 16, 0, 500 * ms, kindUp},
	{"kill broker", 6, 100 * ms, 1500 * ms, kindUp},
	{"kill broker", 9, 100 * ms, 2500 * ms, kindEmbedded},
	{"kill broker", 2, 100 * ms, 2500 * ms, kindKafka},
	{"stop processor", 7, 3500 * ms, 3 * time.Second, ""},
	{"stop view", 2, 200 * ms, 3 * time.Second, ""},
	{"stop broker", 3, 300 * ms, 4 * time.Second, ""},
	{"cut", 8, 0, 0, ""},
	{"refuse", 4, 300 * ms, 4 * time.Second, ""},
	{"hold", 6, 500 * ms, 5 * time.Second, ""},
	{"delay", 4, 2 * time.Second, 4 * time.Second, ""},
	{"lose replies", 10, 3 * time.Second, 0, ""},
	{"tear requests", 5, 3 * time.Second, 0, ""},
	{"rebalance storm", 3, 0, 0, ""},
	{"leave and return", 5, 0, 800 * ms, ""},
	{"lose a disk", 3, 0, 800 * ms, ""},
	{"fill a disk", 4, 1500 * ms, 3 * time.Second, ""},
}

// newSchedule draws a round's faults. The same seed gives the same schedule.
func newSchedule(seed uint64, kind string, over, pace time.Duration) (list []fault) {
	random := rand.New(rand.NewPCG(seed, 7))
	total := 0
	for _, c := range choices {
		if c.only == "" || c.only == kind {
			total += c.weight
		}
	}
	for at := time.Second; ; {
		at += time.Duration(random.ExpFloat64() * float64(pace))
		if at >= over {
			return list
		}
		dice := random.IntN(total)
		for _, c := range choices {
			if c.only != "" && c.only != kind {
				continue
			}
			if dice -= c.weight; dice < 0 {
				f := fault{at: at, what: c.what, lasts: c.shortest, dice: random.Uint64()}
				if c.longer > 0 {
					f.lasts += time.Duration(random.Int64N(int64(c.longer)))
				}
				list = append(list, f)
				break
			}
		}
	}
}

// told is a schedule as text.
func told(list []fault) string {
	var text strings.Builder
	for _, f := range list {
		fmt.Fprintln(&text, f)
	}
	return text.String()
}
