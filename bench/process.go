package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// The bounds of what a process may take.
const (
	startTimeout = 90 * time.Second
	stopTimeout  = 30 * time.Second
)

// process is one that is measured. It ends with this one.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	bound int64         // of its resident set, bytes: it is killed above; 0 for none
	ended chan struct{} // closed when cmd.Wait has returned
	err   error         // of Wait; read after ended

	mu    sync.Mutex
	peak  int64                  // of its resident set so far, bytes; guarded by mu
	lines map[string][]time.Time // what it has said, and when; guarded by mu
	said  chan struct{}          // closed and replaced with each line; guarded by mu
}

// startProcess starts a command whose standard output has one word a line. Its standard error goes to a file. Above bound bytes
// of memory it is killed; 0 is no bound.
func startProcess(cmd *exec.Cmd, logFile string, bound int64) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, began: time.Now(), bound: bound, ended: make(chan struct{}), lines: map[string][]time.Time{}, said: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.mu.Lock()
			p.lines[scanner.Text()] = append(p.lines[scanner.Text()], time.Now())
			close(p.said)
			p.said = make(chan struct{})
			p.mu.Unlock()
		}
		p.err = cmd.Wait()
		if peak := p.peakMemory(); p.bound > 0 && peak > p.bound {
			p.err = errors.Join(fmt.Errorf("%w: %d MB, and it may use %d", errMemory, peak>>20, p.bound>>20), p.err)
		}
	}()
	go p.watchMemory()
	return p, nil
}

// errMemory is a process that used more memory than it may.
var errMemory = errors.New("too much memory")

// watchMemory notes the peak of the resident set until the process ends, and kills it above its bound. What the kernel tells of an ended process (ru_maxrss)
// is of no use: it begins with the parent's at the fork.
func (p *process) watchMemory() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		p.noteMemory()
		if p.bound > 0 && p.peakMemory() > p.bound {
			_ = p.cmd.Process.Kill() // what has ended needs none
			return
		}
		select {
		case <-p.ended:
			return
		case <-ticker.C:
		}
	}
}

func (p *process) noteMemory() {
	var kilobytes int64
	if _, err := fmt.Sscanf(lineOf(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmHWM"), "%d kB", &kilobytes); err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.peak = max(p.peak, kilobytes<<10)
	}
}

func (p *process) peakMemory() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peak
}

// await waits until the process has said a word, and returns when it first did.
func (p *process) await(ctx context.Context, word string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		p.mu.Lock()
		times, next := p.lines[word], p.said
		p.mu.Unlock()
		if len(times) > 0 {
			return times[0], nil
		}
		select {
		case <-next:
		case <-p.ended:
			return time.Time{}, fmt.Errorf("it ended before it was %q: %w", word, p.err)
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("it is not %q after %s: %w", word, time.Since(p.began).Round(time.Second), ctx.Err())
		}
	}
}

// first returns when the process first said a word, if it has.
func (p *process) first(word string) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if times := p.lines[word]; len(times) > 0 {
		return times[0], true
	}
	return time.Time{}, false
}

// running reports an error if the process has ended.
func (p *process) running() error {
	select {
	case <-p.ended:
		return fmt.Errorf("it has ended: %w", errors.Join(p.err, errEnded))
	default:
		return nil
	}
}

var errEnded = errors.New("a process that should run")

// usage is what a process has used.
type usage struct {
	cpu    time.Duration // user and system, of all its threads
	memory int64         // peak resident set, bytes
}

// stop ends the process cleanly and returns what it has used.
func (p *process) stop() (usage, error) {
	p.noteMemory()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // what has ended is seen below
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.kill()
		return p.used(), fmt.Errorf("it did not stop within %s", stopTimeout)
	}
	var ended *exec.ExitError
	if errors.As(p.err, &ended) && ended.ExitCode() == 143 { // how a JVM answers SIGTERM
		return p.used(), nil
	}
	return p.used(), p.err
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) used() usage {
	return usage{cpu: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), memory: p.peakMemory()}
}
