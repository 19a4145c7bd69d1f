package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The words between parent and child. The child's standard input carries one
// line of options and then nothing: its end is the order to stop, given by
// closing it or by dying. The child's standard output carries one line, which
// begins with one of these words.
const (
	readyWord  = "ready "  // followed by the address
	failedWord = "failed " // followed by the reason
	lockedWord = "locked " // the same, for ErrLocked
)

// startTimeout bounds how long a child may take to load its data directory.
const startTimeout = 2 * time.Minute

// RunChild is the body of the child process: it reads the options from in,
// starts the broker, names its address on out and runs until in ends, ctx is
// done or the process gets SIGTERM; then it closes the broker, which finishes
// the request in hand. The caller exits with the error returned. Pass os.Stdin
// and os.Stdout; log lines go to logger.
//
// SIGINT is ignored: a terminal's interrupt is for the parent, which closes in
// when it has drained. SIGXFSZ is, so that a limit of file sizes is an error like
// a full disk.
func RunChild(ctx context.Context, in io.Reader, out io.Writer, logger *slog.Logger) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGPIPE, syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the broker's options from the parent process: %w", err)
	}
	var o Options
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("reading the broker's options from the parent process: %w", err)
	}
	o.Logger = logger
	b, err := Start(ctx, o)
	if err != nil {
		word := failedWord
		if errors.Is(err, ErrLocked) {
			word = lockedWord
		}
		fmt.Fprintf(out, "%s%s\n", word, strings.ReplaceAll(err.Error(), "\n", "; "))
		return err
	}
	fmt.Fprintf(out, "%s%s\n", readyWord, b.Addr())
	go func() {
		io.Copy(io.Discard, input) // ends with the parent, or with this process
		stop()
	}()
	select {
	case <-ctx.Done():
	case <-b.Failed():
	}
	return b.Close()
}

// Child is a broker in a child process. Its methods are safe for concurrent use.
type Child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string
	done  chan struct{} // closed when the process has ended and err is set
	err   error
	once  sync.Once
}

// Spawn starts exe with args, whose main must call RunChild, and waits until
// its broker is ready. The child runs in a process group of its own, so that an
// interrupt from the terminal reaches only the parent, and it stops cleanly by
// itself when this process ends in whatever way, kill -9 included. Its standard
// error is this process's. Where another process has the directory the error is
// ErrLocked, and ErrKilled where the child was killed before it was ready.
func Spawn(exe string, args []string, o Options) (*Child, error) {
	return spawn(exec.Command(exe, args...), o)
}

func spawn(cmd *exec.Cmd, o Options) (*Child, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encoding the broker's options: %w", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the broker process: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the broker process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the broker process: %w", err)
	}
	c := &Child{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		lines <- line
		io.Copy(io.Discard, r)
		c.err = cmd.Wait()
		close(c.done)
	}()
	if _, err = stdin.Write(append(options, '\n')); err != nil {
		err = fmt.Errorf("handing the broker process its options: %w", err)
		if c.killed() {
			err = fmt.Errorf("%w: %w", ErrKilled, err)
		}
	} else {
		err = c.ready(lines)
	}
	if err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

func (c *Child) ready(lines <-chan string) error {
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	var line string
	select {
	case line = <-lines:
	case <-timeout.C:
		return fmt.Errorf("the broker process was not ready within %s", startTimeout)
	}
	line = strings.TrimSuffix(line, "\n")
	if addr, ok := strings.CutPrefix(line, readyWord); ok {
		c.addr = addr
		return nil
	}
	if reason, ok := strings.CutPrefix(line, lockedWord); ok {
		return fmt.Errorf("starting the broker process: %w", &childError{reason, ErrLocked})
	}
	if reason, ok := strings.CutPrefix(line, failedWord); ok {
		return fmt.Errorf("starting the broker process: %w", &childError{reason, nil})
	}
	if line == "" && c.killed() {
		return fmt.Errorf("starting the broker process: %w: %s", ErrKilled, c.cmd.ProcessState)
	}
	return fmt.Errorf("the broker process ended or said %q before it was ready (does its program call RunChild?)", line)
}

// endTimeout bounds how long a child that has closed its output may take to end.
const endTimeout = 5 * time.Second

// killed waits for the end of a child that has closed its output, and tells
// whether that end was a signal.
func (c *Child) killed() bool {
	timeout := time.NewTimer(endTimeout)
	defer timeout.Stop()
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode() == -1
	case <-timeout.C:
		return false
	}
}

// childError carries a reason from the child, and what it is.
type childError struct {
	reason string
	is     error
}

func (e *childError) Error() string { return e.reason }
func (e *childError) Unwrap() error { return e.is }

// Addr is the host and port of the child's broker.
func (c *Child) Addr() string { return c.addr }

// Done is closed when the child has ended, wanted or not.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the child ended: nil for a clean end and before it has ended.
func (c *Child) Err() error {
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("the broker process: %w", c.err)
		}
	default:
	}
	return nil
}

// Stop tells the child to close its broker and waits until it has ended. When
// ctx is done first the child is killed, which may cut a commit in half.
func (c *Child) Stop(ctx context.Context) error {
	c.once.Do(func() { c.stdin.Close() })
	select {
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		c.kill()
		return fmt.Errorf("the broker process had to be killed: %w", ctx.Err())
	}
}

func (c *Child) kill() {
	c.once.Do(func() { c.stdin.Close() })
	c.cmd.Process.Kill()
	<-c.done
}
