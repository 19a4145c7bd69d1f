package e2e

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/pausetest"
	"github.com/tidemill/tidemill/internal/tidemilltest"
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
	tidemilltest.Process
	t      *testing.T
	name   string
	url    string // of its calculator address, if it serves one
	admin  string
	output *syncBuffer
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return tidemilltest.FreeAddr(t)
}

// dataDir returns a directory for data. Unlike t.TempDir it waits for the broker of a process that was killed, which
// closes its files by itself.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tidemill-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tidemilltest.RemoveAll(t, dir) })
	return dir
}

// newProcess prepares a process with a directory of its own.
func newProcess(t *testing.T, name string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &process{t: t, name: name, Process: tidemilltest.Process{Path: path, Dir: dir, Args: args, LogFile: filepath.Join(dir, "log")}}
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
	p := newProcess(t, name, append(args, flags...)...)
	p.url, p.admin = "http://"+app, "http://"+admin
	p.start()
	t.Cleanup(p.cleanUp)
	return p
}

// launchBroker starts the embedded broker in a process of its own and waits until it answers.
func launchBroker(t *testing.T) (addr string, p *process) {
	t.Helper()
	addr = freeAddr(t)
	p = newProcess(t, "broker", "broker", "--broker-addr", addr, "--data", dataDir(t))
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
	p.output = &syncBuffer{}
	p.Stdout = p.output
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill9 kills the process at once and waits until it is gone.
func (p *process) kill9() {
	p.signal(syscall.SIGKILL)
	<-p.Done()
}

// terminate asks the process to stop, waits, and returns how long that took. On a quiet machine it leaves within five
// seconds.
func (p *process) terminate() time.Duration {
	p.t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.t.Fatalf("%s does not stop", p.name)
	}
	took := time.Since(began)
	if code := p.State().ExitCode(); code != 0 {
		p.t.Errorf("%s ended with exit code %d", p.name, code)
	}
	return took
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Signal(s); err != nil {
		p.t.Fatalf("sending %s to %s: %v", s, p.name, err)
	}
}

// pause stops it as it is, until SIGCONT.
func (p *process) pause() {
	p.t.Helper()
	pausetest.Pause(p.t, p.PID())
}

// cleanUp ends the process and shows the end of its log if the test failed.
func (p *process) cleanUp() {
	if p.Running() {
		p.signal(syscall.SIGCONT)
		p.kill9()
	}
	logs := p.Log()
	if strings.Contains(logs, "WARNING: DATA RACE") {
		p.t.Errorf("%s has a data race", p.name)
	}
	if p.t.Failed() {
		p.t.Logf("the log of %s ends with:\n%s", p.name, logs[max(0, len(logs)-6000):])
	}
}

// awaitReady waits until the process says that it is ready.
func (p *process) awaitReady() {
	p.t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	p.eventually(p.name+" is ready", func() bool {
		response, err := client.Get(p.admin + "/readyz")
		if err != nil {
			if !p.Running() {
				p.t.Fatalf("%s has ended: %s", p.name, p.State())
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
