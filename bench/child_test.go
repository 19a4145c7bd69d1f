package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// childEnv makes the test binary a processor: "<broker> <state directory>".
const childEnv = "TIDEMILL_BENCH_PROCESSOR"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := runProcessor(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kafkatest.Main(m)
}

// runProcessor is the measured process: the calculator's processor and nothing else.
func runProcessor(spec string) error {
	broker, dir, _ := strings.Cut(spec, " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	topology, _, err := calculator.Topology()
	if err != nil {
		return err
	}
	p, err := processors.New(topology, processors.Config{
		Kafka: kafka.Config{Brokers: []string{broker}}, StateDir: dir, CreateTopics: true,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Guarantee: processors.Guarantee(os.Getenv("TIDEMILL_BENCH_GUARANTEE")),
	})
	if err != nil {
		return err
	}
	if addr := os.Getenv("TIDEMILL_BENCH_PPROF"); addr != "" {
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, nil)) }()
	}
	go func() {
		select {
		case <-p.Ready():
			fmt.Println("ready")
		case <-ctx.Done():
		}
	}()
	return p.Run(ctx)
}

// child is a running processor.
type child struct {
	cmd   *exec.Cmd
	ready chan struct{}
}

func startChild(t *testing.T, broker kafkatest.Broker, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe), ready: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+broker.Addr()+" "+dir)
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		line := make([]byte, 16)
		if n, _ := out.Read(line); n > 0 {
			close(c.ready)
		}
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

func (c *child) waitReady(t *testing.T) {
	t.Helper()
	select {
	case <-c.ready:
	case <-time.After(30 * time.Second):
		t.Fatal("the processor is not ready after 30s")
	}
}

// usage is what a process has used.
type usage struct {
	cpu    time.Duration
	memory int64 // peak resident set, bytes
}

// stop ends the process cleanly and returns what it has used.
func (c *child) stop(t *testing.T) usage {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the processor ended with %v", err)
	}
	u := usage{cpu: c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()}
	if r, ok := c.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss << 10
	}
	return u
}

func stateDir(t *testing.T) string { return filepath.Join(t.TempDir(), "state") }
