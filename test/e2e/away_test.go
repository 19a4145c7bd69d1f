package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/pausetest"
)

// awayLeave is how long leaving may take at most while the broker is away: five seconds, and what a busy machine adds.
const awayLeave = 8 * time.Second

// TestLeavingWhileTheBrokerIsAway stops each component, all at once, just after their broker has fallen silent. Nothing is
// lost by ending then: it is clean.
func TestLeavingWhileTheBrokerIsAway(t *testing.T) {
	brokers, broker := launchBroker(t)
	var all []*process
	for _, part := range []string{"commander", "processor", "view", "history", "subscriptions"} {
		all = append(all, launch(t, "calculator "+part, part, "--brokers", brokers, "--data", dataDir(t)))
	}
	for _, p := range all {
		p.awaitReady()
	}
	broker.pause()
	leaveAway(t, all...)
}

// TestUpLeavesWhileItsBrokerIsAway stops the whole system whose broker process hangs.
func TestUpLeavesWhileItsBrokerIsAway(t *testing.T) {
	p := launch(t, "up", "up", "--data", dataDir(t), "--broker-addr", "127.0.0.1:0")
	p.awaitReady()
	child := childOf(t, p)
	pausetest.Pause(t, child)
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGCONT) }) // if it is still there, it ends by itself
	leaveAway(t, p)
	if err := syscall.Kill(child, 0); err == nil {
		t.Errorf("the broker process %d is still there", child)
	}
}

// leaveAway asks processes to leave and waits for them.
func leaveAway(t *testing.T, all ...*process) {
	t.Helper()
	began := time.Now()
	for _, p := range all {
		p.signal(syscall.SIGTERM)
	}
	late := time.NewTimer(2 * awayLeave)
	defer late.Stop()
	for _, p := range all {
		select {
		case <-p.Done():
		case <-late.C:
			t.Fatalf("the %s does not stop", p.name)
		}
		if took := time.Since(began); took > awayLeave {
			t.Errorf("the %s took %s to leave, want %s at most", p.name, took, awayLeave)
		}
		if code := p.State().ExitCode(); code != 0 {
			t.Errorf("the %s ended with exit code %d", p.name, code)
		}
	}
}
