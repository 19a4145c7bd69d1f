// Package browser tests the pages as people use them: a real server started as `tidemill up`, and a real chromium. Every
// test fails where the page logs an error or its Content-Security-Policy refuses something.
//
// The tests keep screenshots in .cache/screenshots for a person to see.
package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// screenshots is where they are kept, from this package's directory.
var screenshots = filepath.Join("..", "..", ".cache", "screenshots")

// chromium is the browser that all tests share; each of their users has an own, empty profile in it.
var chromium browserProcess

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.stop()
	if s := everybodys.started; s != nil {
		if err := errors.Join(s.end(), s.remove(everybodys.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "ending the server of the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// browserProcess is one chromium.
type browserProcess struct {
	once   sync.Once
	ctx    context.Context
	cancel []context.CancelFunc
	err    error
}

// errNoBrowser says that there is none on this machine.
var errNoBrowser = errors.New("there is no chromium here: apt-get install chromium")

// start returns the browser's context. Without a browser the test is skipped, but not in continuous integration.
func (b *browserProcess) start(t *testing.T) context.Context {
	t.Helper()
	b.once.Do(b.launch)
	if errors.Is(b.err, errNoBrowser) && os.Getenv("CI") != "true" {
		t.Skipf("skipped: %v", b.err)
	}
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.ctx
}

func (b *browserProcess) launch() {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		b.err = errNoBrowser
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-GB"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // chromium refuses to run as root with it
	}
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel2 := chromedp.NewContext(allocated)
	b.ctx, b.cancel = ctx, []context.CancelFunc{cancel2, cancel}
	if err := chromedp.Do(ctx); err != nil {
		b.err = fmt.Errorf("starting %s: %w", path, err)
	}
}

func (b *browserProcess) stop() {
	for _, cancel := range b.cancel {
		cancel()
	}
}

// binary builds the command once and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".cache", "browser", "tidemill")
	build := exec.Command("go", "build", "-o", path, "./cmd/tidemill")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return path, nil
})

// server is a `tidemill up` of its own, which can be killed and started again.
type server struct {
	t          *testing.T
	calculator string // URL
	page       string // URL of the start page and ordering's
	command    string // host:port of ordering's command service
	query      string // host:port of ordering's query service
	admin      string // URL
	args       []string
	logs       *os.File
	processes  *sync.WaitGroup // that write to the log: the server's, and its broker's, which ends a little later
	cmd        *exec.Cmd
	done       chan struct{} // closed when cmd has ended
}

// everybodys is the server of the tests that leave it running; each has customers and values of its own there.
var everybodys struct {
	once    sync.Once
	started *server
	dir     string
}

// shared returns the server that is everybody's.
func shared(t *testing.T) *server {
	t.Helper()
	everybodys.once.Do(func() {
		s, dir := newServer(t)
		defer func() {
			if s.cmd == nil { // it could not be started: there is nothing to end
				_ = s.remove(dir)
			}
		}()
		s.start()
		everybodys.started, everybodys.dir = s, dir
	})
	if everybodys.started == nil {
		t.Fatal("the server of these tests could not be started")
	}
	s := *everybodys.started
	s.t = t
	t.Cleanup(s.tell)
	s.awaitReady()
	return &s
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

// up starts everything on addresses of its own, and ends it with the test.
func up(t *testing.T) *server {
	t.Helper()
	s, dir := newServer(t)
	t.Cleanup(func() { s.cleanUp(dir) })
	s.start()
	s.awaitReady()
	return s
}

// newServer returns a server that does not run yet, and the directory of its data and log.
func newServer(t *testing.T) (s *server, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tidemill-browser-")
	if err != nil {
		t.Fatal(err)
	}
	s = &server{t: t, processes: new(sync.WaitGroup)}
	calculator, page, command, query, admin := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	s.calculator, s.page, s.admin = "http://"+calculator, "http://"+page, "http://"+admin
	s.command, s.query = command, query
	s.args = []string{
		"up", "--data", filepath.Join(dir, "data"), "--calculator-addr", calculator, "--admin-addr", admin, "--broker-addr", "127.0.0.1:0",
		"--ordering-page-addr", page, "--ordering-command-addr", command, "--ordering-query-addr", query,
	}
	if s.logs, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// start starts the process, which does not run.
func (s *server) start() {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	lines, end, err := os.Pipe() // the broker has it too: its end is theirs
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, s.args...)
	cmd.Stdout, cmd.Stderr = s.logs, end
	err = errors.Join(cmd.Start(), end.Close())
	s.processes.Go(func() {
		_, _ = io.Copy(s.logs, lines) // the log is for people, and needed only if something else fails
		_ = lines.Close()
	})
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}()
	s.cmd, s.done = cmd, done
}

// kill ends the process at once, as a power switch would.
func (s *server) kill() {
	s.t.Helper()
	if err := s.end(); err != nil {
		s.t.Fatalf("killing the server: %v", err)
	}
}

func (s *server) end() error {
	err := s.cmd.Process.Signal(syscall.SIGKILL)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.done
	return nil
}

func (s *server) awaitReady() {
	s.t.Helper()
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	eventually(s.t, "the server is ready", func() error {
		response, err := client.Get(s.admin + "/readyz")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// tell shows the end of the server's log if the test failed.
func (s *server) tell() {
	if s.t.Failed() {
		logs, _ := os.ReadFile(s.logs.Name())
		s.t.Logf("the server's log ends with:\n%s", bytes.TrimSpace(logs[max(0, len(logs)-4000):]))
	}
}

// cleanUp ends the process and removes its data.
func (s *server) cleanUp(dir string) {
	if s.cmd != nil {
		s.kill()
	}
	s.tell()
	if err := s.remove(dir); err != nil {
		s.t.Error(err)
	}
}

// remove removes the data of a server that has ended, once its broker has too: that is a process of its own, which still
// closes its files.
func (s *server) remove(dir string) error {
	ended := make(chan struct{})
	go func() {
		s.processes.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		return fmt.Errorf("the broker of the server has not ended after %s; its data stay in %s", patience, dir)
	}
	return errors.Join(s.logs.Close(), os.RemoveAll(dir))
}

// eventually tries until there is no error.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s: %v", patience, what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
