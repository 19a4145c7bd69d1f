package tidemilltest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Process is the command running with the same arguments again and again. It ends with the test binary, however that ends. Its
// methods are for one goroutine.
type Process struct {
	Path, Dir string // of the binary, and where it runs
	Args      []string
	// LogFile gets what it writes, except where Stdout or Stderr is set.
	LogFile        string
	Stdout, Stderr io.Writer

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// Start starts the process, which does not run.
func (p *Process) Start() error {
	logs, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logs.Close()
	fmt.Fprintf(logs, "--- %s\n", strings.Join(p.Args, " "))
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.Dir, Environment(), attributes()
	cmd.Stdout, cmd.Stderr = logs, logs
	if p.Stdout != nil {
		cmd.Stdout = p.Stdout
	}
	if p.Stderr != nil {
		cmd.Stderr = p.Stderr
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}()
	p.cmd, p.done = cmd, done
	return nil
}

// Running reports whether the process runs, or stands still.
func (p *Process) Running() bool {
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

// Done is closed when the process has ended that was started last.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the id of the process that was started last.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// State is how the process has ended that was started last.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Signal sends a signal. The error is os.ErrProcessDone where the process has ended.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill9 kills the process at once, as a power switch would, and waits until it is gone. It reports whether there was one.
func (p *Process) Kill9() bool {
	if !p.Running() {
		return false
	}
	_ = p.cmd.Process.Kill() // it may have ended this instant
	<-p.done
	return p.cmd.ProcessState.ExitCode() == -1
}

// Log returns what the process has logged, in all its lives.
func (p *Process) Log() string {
	logs, _ := os.ReadFile(p.LogFile) // without a log there is nothing to show
	return string(logs)
}

// LastLines returns the last lines of the log in one.
func (p *Process) LastLines(n int) string {
	lines := strings.Split(strings.TrimSpace(p.Log()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
