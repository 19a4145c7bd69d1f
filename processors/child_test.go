package processors_test

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// childVariable carries the options of a second run of the test binary, which is then one instance of the ledger.
const childVariable = "TIDEMILL_PROCESSORS_CHILD"

// childOptions say how the child runs.
type childOptions struct {
	Brokers       []string
	App           string
	StateDir      string
	InstanceID    string
	SessionMillis int // 0 takes the default
	// Drain removes the instance from its group after a stop.
	Drain bool
}

// childReport is a line of the child's output.
type childReport struct {
	Ready      bool
	Restored   int64 // changelog offsets read
	Partitions int
	Error      string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(runChild(text))
	}
	kafkatest.Main(m)
}

func (o childOptions) config() processors.Config {
	config := processors.Config{
		Kafka: kafka.Config{Brokers: o.Brokers}, StateDir: o.StateDir, InstanceID: o.InstanceID, CreateTopics: true,
		SessionTimeout: time.Duration(o.SessionMillis) * time.Millisecond, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	config.HeartbeatInterval = config.SessionTimeout / 10
	return config
}

// runChild runs one instance until SIGTERM, or until the parent's end of the pipe closes.
func runChild(text string) int {
	report := func(r childReport) {
		line, _ := json.Marshal(r)
		fmt.Println(string(line))
	}
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		report(childReport{Error: err.Error()})
		return 2
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	built, err := ledger(o.App)
	if err != nil {
		report(childReport{Error: err.Error()})
		return 2
	}
	p, err := processors.New(built, o.config())
	if err != nil {
		report(childReport{Error: err.Error()})
		return 2
	}
	go func() {
		<-p.Ready()
		r := childReport{Ready: true}
		for _, group := range p.Status().Groups {
			r.Partitions += len(group.Partitions)
			for _, restore := range group.Restores {
				r.Restored += restore.Done
			}
		}
		report(r)
	}()
	err = p.Run(ctx)
	if err == nil && o.Drain {
		err = processors.RemoveInstance(context.Background(), built, o.config(), o.InstanceID)
	}
	if err != nil {
		report(childReport{Error: err.Error()})
		return 1
	}
	return 0
}

// child is an instance of the ledger in a process of its own.
type child struct {
	t       testing.TB
	options childOptions
	log     string
	cmd     *exec.Cmd
	reports chan childReport
	done    chan struct{}
	took    time.Duration // from the start to ready
	ready   childReport
}

func newChild(t testing.TB, b kafkatest.Broker, app, instance string) *child {
	t.Helper()
	dir := t.TempDir()
	c := &child{t: t, log: filepath.Join(dir, "log"), options: childOptions{
		Brokers: b.Brokers(), App: app, StateDir: dir, InstanceID: instance,
	}}
	t.Cleanup(func() {
		if c.running() {
			c.kill()
		}
		if t.Failed() {
			text, _ := os.ReadFile(c.log)
			t.Logf("the log of instance %s ends with\n%s", instance, text[max(0, len(text)-8000):])
		}
	})
	return c
}

func (c *child) running() bool {
	if c.cmd == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// launch starts the process without waiting for it.
func (c *child) launch() {
	c.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := json.Marshal(c.options)
	if err != nil {
		c.t.Fatal(err)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = log
	if _, err := cmd.StdinPipe(); err != nil { // it stays open until this process ends
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.cmd, c.reports, c.done = cmd, make(chan childReport, 16), make(chan struct{})
	reports, done := c.reports, c.done
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var r childReport
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				reports <- r
			}
		}
		_ = cmd.Wait()
	}()
}

// start starts the process and waits until its tasks run.
func (c *child) start() {
	c.t.Helper()
	began := time.Now()
	c.launch()
	c.awaitReady(began)
}

func (c *child) awaitReady(began time.Time) {
	c.t.Helper()
	select {
	case r := <-c.reports:
		if !r.Ready {
			c.t.Fatalf("instance %s: %s", c.options.InstanceID, r.Error)
		}
		c.took, c.ready = time.Since(began), r
	case <-c.done:
		c.t.Fatalf("instance %s ended at once", c.options.InstanceID)
	case <-time.After(60 * time.Second):
		c.t.Fatalf("instance %s is not ready", c.options.InstanceID)
	}
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// kill is kill -9.
func (c *child) kill() {
	c.t.Helper()
	c.signal(syscall.SIGKILL)
	<-c.done
}

// stop ends the process as a deployment does.
func (c *child) stop() {
	c.t.Helper()
	began := time.Now()
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("instance %s does not stop", c.options.InstanceID)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("instance %s ended with code %d", c.options.InstanceID, code)
	}
	c.t.Logf("instance %s took %s to stop", c.options.InstanceID, time.Since(began).Round(time.Millisecond))
}
