package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/pausetest"
)

// Options says what broker a test wants for itself.
type Options struct {
	// Properties are broker settings by Kafka's names, over the defaults.
	Properties map[string]string
	// TLS gives the broker a certificate; see Process.Certificates.
	TLS bool
	// ClientCertificates makes it ask clients for theirs as well.
	ClientCertificates bool
	// Features are cluster features that differ from the newest, such as
	// "transaction.version": 0; only on a real Kafka.
	Features map[string]int
	// Users, where not empty, are the only ones let in, by SASL.
	Users []broker.User
}

// Process is a broker in a process of its own, which a test may kill. Its
// methods are for one goroutine at a time. It keeps address and data over
// restarts and is ended with the test.
type Process struct {
	Broker
	// Certificates are the files of a broker started with Options.TLS.
	Certificates Certificates

	command   func() *exec.Cmd
	cmd       *exec.Cmd
	done      chan struct{} // closed when cmd has ended
	guard     *guard
	removeDir bool // whether the guard removes the data directory
	logFile   string

	node, controller int    // a real broker's id, and the port of its cluster's controller
	cluster          string // and the cluster's id
}

// startTimeout bounds how long a broker may take until it answers.
const startTimeout = 90 * time.Second

// Start starts the broker again after Stop or Kill9, on the same address and
// data, and waits until it answers.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	if err := p.start(); err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
}

// Stop asks the broker to stop (SIGTERM) and waits until it has.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(startTimeout):
		t.Fatalf("kafkatest: the broker did not stop within %s", startTimeout)
	}
	p.guard.release()
}

// Kill9 kills the broker (SIGKILL) and waits until it is gone.
func (p *Process) Kill9(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.done
	p.guard.release()
}

// Pause stops the broker in its tracks (SIGSTOP) and waits until it stands
// still; connections stay open.
func (p *Process) Pause(t testing.TB) { t.Helper(); pausetest.Pause(t, p.PID()) }

// Continue ends a Pause (SIGCONT).
func (p *Process) Continue(t testing.TB) { t.Helper(); p.signal(t, syscall.SIGCONT) }

// PID is the broker's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("kafkatest: sending %s to the broker: %v", s, err)
	}
}

func (p *Process) start() error {
	cmd := p.command()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
	dir := ""
	if p.removeDir {
		dir = p.own
	}
	if p.guard, err = newGuard(cmd.Process.Pid, dir); err == nil {
		err = p.waitReady()
	}
	if err != nil {
		p.kill()
		tail, _ := os.ReadFile(p.logFile)
		return fmt.Errorf("the broker did not start: %w\n%s", err, tail[max(0, len(tail)-4000):])
	}
	return nil
}

// kill ends the broker if it runs; it may be called at any time after start.
func (p *Process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	<-p.done
	p.guard.release()
}

func (p *Process) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(p.addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second), kgo.RetryTimeout(time.Second),
	}, p.opts...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		err := ready(ctx, cl, p.cluster)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", startTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// errEnded is told of a broker that has ended before it was ready.
var errEnded = errors.New("it ended at once")

// ready reports whether the broker is in its own metadata. A broker of another cluster, if one is given, has taken the port.
func ready(ctx context.Context, cl *kgo.Client, cluster string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = []kmsg.MetadataRequestTopic{}
	m, err := meta.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if cluster != "" && (m.ClusterID == nil || *m.ClusterID != cluster) {
		return errors.New("another broker has its port")
	}
	if len(m.Brokers) == 0 {
		return errors.New("no broker in the metadata yet")
	}
	return nil
}

// guard is a small process that kills the broker when this one ends, however it
// ends: its standard input is a pipe that only this process can write to.
type guard struct {
	in  io.WriteCloser
	cmd *exec.Cmd
}

// The guard reads a line that says the broker has ended, or the end of the pipe.
const guardScript = `read -r ended && exit 0
kill -9 "$1" 2>/dev/null
if [ -n "$2" ]; then rm -rf "$2"; fi`

func newGuard(pid int, dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", strconv.Itoa(pid), dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{in, cmd}, nil
}

func (g *guard) release() {
	if g == nil || g.cmd == nil {
		return
	}
	io.WriteString(g.in, "ended\n")
	g.in.Close()
	g.cmd.Wait()
	g.cmd = nil
}
