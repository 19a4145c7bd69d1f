// Package e2e tests the tidemill command as its users run it: the real binary, real processes, killed and stopped at any
// moment, against the embedded broker and a real Kafka. What came of it is read from the topics by an independent client
// and compared with a sequential model.
package e2e

import (
	"flag"
	"math/rand/v2"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/tidemilltest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

var (
	seedFlag = flag.Uint64("seed", 0, "of what is random; 0 takes one from the clock, which a failing test tells")
	killFlag = flag.Int("kills", 20, "of each process that is killed at random moments")
	sizeFlag = flag.Int("commands", 10_000, "of the tests with random commands")
	raceFlag = flag.Bool("detect-races", false, "build the command with the race detector, and fail where it finds one")
)

// random returns what a test draws from. The seed is printed if the test fails.
func random(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with: go test ./test/e2e -run '^%s$' -args -seed %d", t.Name(), seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1)), seed
}

// sizes returns how many commands and kills a test has.
func sizes() (commands, kills int) {
	if testing.Short() {
		return *sizeFlag / 10, max(*killFlag/5, 1)
	}
	return *sizeFlag, *killFlag
}

// binary builds the command once and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	if *raceFlag {
		return tidemilltest.Build("e2e", "-race")
	}
	return tidemilltest.Build("e2e")
})

// run runs the command to its end and returns what it wrote and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = tidemilltest.Environment()
	var out, complaints syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("running tidemill %v: %v", args, err)
	}
	return out.String(), complaints.String(), cmd.ProcessState.ExitCode()
}
