package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen.
const patience = 45 * time.Second

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (b *syncBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

// String returns what was written so far.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// process is a tidemill process, which can be started again. Its methods are for one goroutine.
type process struct {
	t       *testing.T
	name    string
	args    []string
	url     string // of its calculator address, if it serves one
	admin   string
	dir     string
	logFile string
	cmd     *exec.Cmd
	done    chan struct{} // closed when cmd has ended
	output  *syncBuffer
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

// dataDir returns a directory for data. Unlike t.TempDir it waits for the broker of a process that was killed, which
// closes its files by itself.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tidemill-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			err := os.RemoveAll(dir)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("removing %s: %v", dir, err)
				return
			}
		}
	})
	return dir
}

// launch starts a tidemill process that serves, on addresses of its own, and ends it with the test. A part is a command's
// words, such as "calculator view".
func launch(t *testing.T, part, name string, flags ...string) *process {
	t.Helper()
	app, admin := freeAddr(t), freeAddr(t)
	args := append(strings.Fields(part), "--admin-addr", admin, "--log-level", "info")
	if part != "calculator processor" {
		args = append(args, "--calculator-addr", app)
	}
	if part == "up" {
		args = append(args, "--ordering-command-addr", freeAddr(t), "--ordering-query-addr", freeAddr(t), "--ordering-page-addr", freeAddr(t))
	}
	p := &process{
		t: t, name: name, args: append(args, flags...), url: "http://" + app, admin: "http://" + admin, dir: t.TempDir(),
	}
	p.logFile = filepath.Join(p.dir, "log")
	p.start()
	t.Cleanup(p.cleanUp)
	return p
}

// launchBroker starts the embedded broker in a process of its own and waits until it answers.
func launchBroker(t *testing.T) (addr string, p *process) {
	t.Helper()
	addr = freeAddr(t)
	p = &process{t: t, name: "broker", dir: t.TempDir(), args: []string{"broker", "--broker-addr", addr, "--data", dataDir(t)}}
	p.logFile = filepath.Join(p.dir, "log")
	p.start()
	t.Cleanup(p.cleanUp)
	p.awaitAddr(addr)
	return addr, p
}

// awaitAddr waits until somebody listens.
func (p *process) awaitAddr(addr string) {
	p.t.Helper()
	p.eventually("somebody listens on "+addr, func() bool {
		connection, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
}

// start starts the process, which does not run.
func (p *process) start() {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	logs, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer logs.Close()
	cmd := exec.Command(path, p.args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.dir, cleanEnvironment(), attributes()
	p.output = &syncBuffer{}
	cmd.Stdout, cmd.Stderr = p.output, logs
	fmt.Fprintf(logs, "--- %s\n", strings.Join(p.args, " "))
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}()
	p.cmd, p.done = cmd, done
}

// kill9 kills the process at once and waits until it is gone.
func (p *process) kill9() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// terminate asks the process to stop, waits, and returns how long that took. On a quiet machine it leaves within five
// seconds.
func (p *process) terminate() time.Duration {
	p.t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s does not stop", p.name)
	}
	took := time.Since(began)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ended with exit code %d", p.name, code)
	}
	return took
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("sending %s to %s: %v", s, p.name, err)
	}
}

// running reports whether the process runs.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// cleanUp ends the process and shows the end of its log if the test failed.
func (p *process) cleanUp() {
	if p.running() {
		p.signal(syscall.SIGCONT)
		p.kill9()
	}
	logs, _ := os.ReadFile(p.logFile)
	if bytes.Contains(logs, []byte("WARNING: DATA RACE")) {
		p.t.Errorf("%s has a data race", p.name)
	}
	if p.t.Failed() {
		p.t.Logf("the log of %s ends with:\n%s", p.name, logs[max(0, len(logs)-6000):])
	}
}

// log returns everything that the process has logged.
func (p *process) log() string {
	logs, err := os.ReadFile(p.logFile)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(logs)
}

// awaitReady waits until the process says that it is ready.
func (p *process) awaitReady() {
	p.t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	p.eventually(p.name+" is ready", func() bool {
		response, err := client.Get(p.admin + "/readyz")
		if err != nil {
			if !p.running() {
				p.t.Fatalf("%s has ended: %s", p.name, p.cmd.ProcessState)
			}
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// eventually polls until a condition holds.
func (p *process) eventually(what string, holds func() bool) {
	p.t.Helper()
	eventually(p.t, what, holds)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
