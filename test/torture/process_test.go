package torture

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen once the faults are over.
const patience = 90 * time.Second

// process is a tidemill process that is started again and again. Its methods are for one goroutine, the nemesis; url, admin and
// name never change.
type process struct {
	name, dir, logFile string
	args               []string
	url, admin         string
	cmd                *exec.Cmd
	done               chan struct{} // closed when cmd has ended
	stopped            bool          // by SIGSTOP
	died               []string      // ends that nobody asked for
	fullDisk           bool          // now, or a moment ago
	gaveUp             int           // how often it ended because its disk was full
	leftLate           int           // how often it was told to leave while the brokers could not be reached, and said that work was left
}

// freeAddr returns a loopback address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// newProcess prepares a process; dir holds its data.
func newProcess(t *testing.T, part, name, dir string, flags ...string) *process {
	t.Helper()
	p := &process{name: name, dir: dir, logFile: filepath.Join(t.TempDir(), name+".log")}
	p.args = append(strings.Fields(part), "--data", dir)
	if part != "broker" {
		admin := freeAddr(t)
		p.admin, p.args = "http://"+admin, append(p.args, "--admin-addr", admin, "--log-commands=false")
	}
	if part != "broker" && part != "calculator processor" {
		app := freeAddr(t)
		p.url, p.args = "http://"+app, append(p.args, "--calculator-addr", app)
	}
	if part == "up" {
		p.args = append(p.args, "--ordering-command-addr", freeAddr(t), "--ordering-query-addr", freeAddr(t), "--ordering-page-addr", freeAddr(t))
	}
	p.args = append(p.args, flags...)
	return p
}

// running reports whether the process runs, or stands still.
func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// start starts the process unless it runs.
func (p *process) start() error {
	if p.running() {
		return nil
	}
	path, err := binary()
	if err != nil {
		return err
	}
	logs, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logs.Close()
	fmt.Fprintf(logs, "--- %s\n", strings.Join(p.args, " "))
	cmd := exec.Command(path, p.args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = logs, logs, attributes()
	cmd.Env = environment()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}()
	p.cmd, p.done, p.stopped = cmd, done, false
	return nil
}

// environment is this process's without settings of tidemill.
func environment() (kept []string) {
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TIDEMILL_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// kill9 kills the process and waits until it is gone. It reports whether there was one.
func (p *process) kill9() bool {
	if !p.running() {
		return false
	}
	_ = p.cmd.Process.Kill() // it may have ended this instant
	<-p.done
	return p.cmd.ProcessState.ExitCode() == -1
}

// pause stops the process in its tracks; resume lets it go on.
func (p *process) pause() {
	if p.running() {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		p.stopped = true
	}
}

func (p *process) resume() {
	if p.running() && p.stopped {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		p.stopped = false
	}
}

// leaveTime is how long a process may take to leave when it is asked to, on a busy machine.
const leaveTime = 15 * time.Second

// terminate asks the process to leave and waits for it.
func (p *process) terminate() error {
	if !p.running() {
		return nil
	}
	p.resume()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil // it has just ended
	}
	select {
	case <-p.done:
	case <-time.After(leaveTime):
		p.kill9()
		return fmt.Errorf("%s has not left %s after SIGTERM", p.name, leaveTime)
	}
	code := p.cmd.ProcessState.ExitCode()
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	p.cmd = nil
	if status.Signaled() && status.Signal() == syscall.SIGTERM && strings.HasPrefix(p.lastLines(1), "--- ") {
		return nil // it had not come so far that it could take the signal: nothing had begun
	}
	if code == 1 && strings.Contains(p.lastLines(2), "has not ended within") {
		p.leftLate++ // in time, and it said so
		return nil
	}
	if code != 0 {
		return fmt.Errorf("%s left with exit code %d: %s", p.name, code, p.lastLines(3))
	}
	return nil
}

// noteDeath notes an end that nobody asked for and reports whether there was one.
func (p *process) noteDeath() bool {
	if p.cmd == nil || p.running() || p.cmd.ProcessState.ExitCode() < 0 {
		return false
	}
	said := p.lastLines(3)
	if p.fullDisk && (strings.Contains(said, "disk is full") || strings.Contains(said, "no space left on device")) {
		p.gaveUp++ // and said why
	} else {
		p.died = append(p.died, fmt.Sprintf("%s ended by itself with %s: %s", p.name, p.cmd.ProcessState, said))
	}
	p.cmd = nil
	return true
}

func (p *process) lastLines(n int) string {
	logs, _ := os.ReadFile(p.logFile) // without a log there is nothing to show
	lines := strings.Split(strings.TrimSpace(string(logs)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
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
