// Package torture runs real tidemill processes against real brokers, does everything to them that a bad week would, and checks
// what came of it: make torture TORTURE=5m.
//
// A campaign is a row of rounds, each with brokers, data and a seeded schedule of faults of its own. In a round clients write and
// read over HTTP and another program writes straight to the topic, while the nemesis kills, stops, cuts off and fills disks. Then
// the faults end, everything must come level within a bound, and package history decides.
package torture

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/tidemilltest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

var (
	forFlag    = flag.Duration("torture.for", 0, "how long the campaign takes; without it there is none")
	seedFlag   = flag.Uint64("torture.seed", 0, "of the first round; 0 takes one from the clock, which is told")
	roundFlag  = flag.Duration("torture.round", 90*time.Second, "for how long each round's faults go on")
	roundsFlag = flag.Int("torture.rounds", 0, "at most so many rounds")
	kindFlag   = flag.String("torture.kind", "", "only rounds of this kind: up, embedded or kafka")
	paceFlag   = flag.Duration("torture.pace", 1500*time.Millisecond, "the mean time from one fault to the next")
	onFlag     = flag.Bool("torture.on", false, "go on after a round that fails")
	keepFlag   = flag.String("torture.keep", "", "a directory for the logs of a round that fails")
)

// binary builds the command once and returns its path.
var binary = sync.OnceValues(func() (string, error) { return tidemilltest.Build("torture") })

// say shows progress, which go test would hold back until the end.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
