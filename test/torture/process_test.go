package torture

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/tidemilltest"
)

// patience bounds every wait for something that must happen once the faults are over.
const patience = 90 * time.Second

// process is a tidemill process that is started again and again. Its methods are for one goroutine, the nemesis; url, admin and
// name never change.
type process struct {
	tidemilltest.Process
	name, dir  string
	url, admin string
	watched    bool     // started, and nobody has asked it to leave or noted its end
	stopped    bool     // by SIGSTOP
	died       []string // ends that nobody asked for
	fullDisk   bool     // now, or a moment ago
	gaveUp     int      // how often it ended because its disk was full
	leftLate   int      // how often it was told to leave while the brokers could not be reached, and said that work was left
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return tidemilltest.FreeAddr(t)
}

// newProcess prepares a process; dir holds its data.
func newProcess(t *testing.T, part, name, dir string, flags ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, dir: dir, Process: tidemilltest.Process{Path: path, LogFile: filepath.Join(t.TempDir(), name+".log")}}
	p.Args = append(strings.Fields(part), "--data", dir)
	if part != "broker" {
		admin := freeAddr(t)
		p.admin, p.Args = "http://"+admin, append(p.Args, "--admin-addr", admin, "--log-commands=false")
	}
	if part != "broker" && part != "calculator processor" {
		app := freeAddr(t)
		p.url, p.Args = "http://"+app, append(p.Args, "--calculator-addr", app)
	}
	if part == "up" {
		p.Args = append(p.Args, "--ordering-command-addr", freeAddr(t), "--ordering-query-addr", freeAddr(t), "--ordering-page-addr", freeAddr(t))
	}
	p.Args = append(p.Args, flags...)
	return p
}

// start starts the process unless it runs.
func (p *process) start() error {
	if p.Running() {
		return nil
	}
	if err := p.Start(); err != nil {
		return err
	}
	p.watched, p.stopped = true, false
	return nil
}

// pause stops the process in its tracks; resume lets it go on.
func (p *process) pause() {
	if p.Running() {
		_ = p.Signal(syscall.SIGSTOP)
		p.stopped = true
	}
}

func (p *process) resume() {
	if p.Running() && p.stopped {
		_ = p.Signal(syscall.SIGCONT)
		p.stopped = false
	}
}

// leaveTime is how long a process may take to leave when it is asked to, on a busy machine.
const leaveTime = 15 * time.Second

// terminate asks the process to leave and waits for it.
func (p *process) terminate() error {
	if !p.Running() {
		return nil
	}
	p.resume()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return nil // it has just ended
	}
	select {
	case <-p.Done():
	case <-time.After(leaveTime):
		p.Kill9()
		return fmt.Errorf("%s has not left %s after SIGTERM", p.name, leaveTime)
	}
	code := p.State().ExitCode()
	status, _ := p.State().Sys().(syscall.WaitStatus)
	p.watched = false
	if status.Signaled() && status.Signal() == syscall.SIGTERM && strings.HasPrefix(p.LastLines(1), "--- ") {
		return nil // it had not come so far that it could take the signal: nothing had begun
	}
	if code == 1 && strings.Contains(p.LastLines(2), "has not ended within") {
		p.leftLate++ // in time, and it said so
		return nil
	}
	if code != 0 {
		return fmt.Errorf("%s left with exit code %d: %s", p.name, code, p.LastLines(3))
	}
	return nil
}

// noteDeath notes an end that nobody asked for and reports whether there was one.
func (p *process) noteDeath() bool {
	if !p.watched || p.Running() || p.State().ExitCode() < 0 {
		return false
	}
	said := p.LastLines(3)
	if p.fullDisk && (strings.Contains(said, "disk is full") || strings.Contains(said, "no space left on device")) {
		p.gaveUp++ // and said why
	} else {
		p.died = append(p.died, fmt.Sprintf("%s ended by itself with %s: %s", p.name, p.State(), said))
	}
	p.watched = false
	return true
}

// ready asks /readyz.
func (p *process) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
