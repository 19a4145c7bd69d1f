// Package browser tests the pages as people use them: a real server started as `tidemill up`, and a real chromium. Every
// test fails where the page logs an error or its Content-Security-Policy refuses something.
//
// The tests keep screenshots in .cache/screenshots for a person to see.
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tidemill/tidemill/internal/tidemilltest"
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
		s.process.Kill9()
		if err := s.remove(everybodys.dir); err != nil {
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
var binary = sync.OnceValues(func() (string, error) { return tidemilltest.Build("browser") })

// server is a `tidemill up` of its own, which can be killed and started again.
type server struct {
	t          *testing.T
	calculator string // URL
	page       string // URL of the start page and ordering's
	command    string // host:port of ordering's command service
	query      string // host:port of ordering's query service
	admin      string // URL
	process    *tidemilltest.Process
	writing    *sync.WaitGroup // to the log: the server, and its broker, which ends a little later
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
			if !s.process.Running() { // it could not be started: there is nothing to end
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

func freeAddr(t *testing.T) string {
	t.Helper()
	return tidemilltest.FreeAddr(t)
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
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s = &server{t: t, writing: new(sync.WaitGroup), process: &tidemilltest.Process{Path: path, LogFile: filepath.Join(dir, "log")}}
	calculator, page, command, query, admin := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	s.calculator, s.page, s.admin = "http://"+calculator, "http://"+page, "http://"+admin
	s.command, s.query = command, query
	s.process.Args = []string{
		"up", "--data", filepath.Join(dir, "data"), "--calculator-addr", calculator, "--admin-addr", admin, "--broker-addr", "127.0.0.1:0",
		"--ordering-page-addr", page, "--ordering-command-addr", command, "--ordering-query-addr", query,
	}
	return s, dir
}

// start starts the process, which does not run.
func (s *server) start() {
	s.t.Helper()
	lines, end, err := os.Pipe() // the broker has it too: its end is theirs
	if err != nil {
		s.t.Fatal(err)
	}
	logs, err := os.OpenFile(s.process.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process.Stderr = end
	err = errors.Join(s.process.Start(), end.Close())
	s.writing.Go(func() {
		_, _ = io.Copy(logs, lines) // the log is for people, and needed only if something else fails
		_, _ = lines.Close(), logs.Close()
	})
	if err != nil {
		s.t.Fatal(err)
	}
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
		logs := s.process.Log()
		s.t.Logf("the server's log ends with:\n%s", strings.TrimSpace(logs[max(0, len(logs)-4000):]))
	}
}

// cleanUp ends the process and removes its data.
func (s *server) cleanUp(dir string) {
	s.process.Kill9()
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
		s.writing.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		return fmt.Errorf("the broker of the server has not ended after %s; its data stay in %s", patience, dir)
	}
	return os.RemoveAll(dir)
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
