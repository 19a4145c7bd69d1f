// Package streamtest opens streams of server-sent events by the thousand, each over a connection of its own, and reads what the
// process that serves them takes up in memory. Only tests import it.
package streamtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lineSize is the longest line that a stream may have, in bytes.
const lineSize = 1 << 10

// Subscriber is one open stream. It belongs to one goroutine at a time.
type Subscriber struct {
	connection net.Conn
	lines      *bufio.Reader
}

// Subscribe opens a stream at host:port over a connection of its own, and reads up to its event ready. All of the stream is to be
// over within the time given.
func Subscribe(address, path string, within time.Duration) (*Subscriber, error) {
	connection, err := net.DialTimeout("tcp", address, within)
	if err != nil {
		return nil, err
	}
	s := &Subscriber{connection, bufio.NewReaderSize(connection, lineSize)}
	err = connection.SetDeadline(time.Now().Add(within))
	if err == nil {
		_, err = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nUser-Agent: a browser of some length\r\n\r\n", path, address)
	}
	if err == nil {
		err = s.Await("event: ready")
	}
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return s, nil
}

// Await reads up to a line.
func (s *Subscriber) Await(line string) error {
	for {
		got, err := s.lines.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", line, err)
		}
		if strings.TrimRight(string(got), "\r\n") == line {
			return nil
		}
	}
}

// Open opens count streams at once and closes them with the test; path gives each its path.
func Open(t testing.TB, address string, count int, within time.Duration, path func(i int) string) []*Subscriber {
	t.Helper()
	Allow(t, count)
	all := make([]*Subscriber, count)
	t.Cleanup(func() {
		for _, one := range all {
			if one != nil {
				_ = one.connection.Close() // the server may have been first
			}
		}
	})
	Each(t, count, func(i int) (err error) {
		all[i], err = Subscribe(address, path(i), within)
		return err
	})
	return all
}

// goroutines is how many of the streams are attended to at once.
const goroutines = 32

// Each calls f for each number below count, from several goroutines, and fails with the first error of each.
func Each(t testing.TB, count int, f func(i int) error) {
	t.Helper()
	var wait sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wait.Go(func() {
			for i := g; i < count && errs[g] == nil; i += goroutines {
				errs[g] = f(i)
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Resident returns the memory that a process takes up now, and at most so far, in bytes. Where there is no /proc the test is
// skipped.
func Resident(t testing.TB, pid int) (now, peak int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("skipped: what a process takes up in memory is read from /proc/%d/status, which %s has not", pid, runtime.GOOS)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) != 3 || fields[2] != "kB":
		case fields[0] == "VmRSS:":
			now, err = strconv.Atoi(fields[1])
		case fields[0] == "VmHWM:":
			peak, err = strconv.Atoi(fields[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return now << 10, peak << 10
}

// Allow lets this process, and the children that it starts from now on, have so many streams open, beside a few hundred other
// files. Where the machine does not let it the test is skipped.
func Allow(t testing.TB, streams int) {
	t.Helper()
	files := streams + 200
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= uint64(files) {
		return
	}
	if limit.Max < uint64(files) {
		t.Skipf("skipped: %d open files are needed, and this machine allows a process %d (ulimit -Hn)", files, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// Megabytes is for logs.
func Megabytes(bytes int) float64 { return float64(bytes) / 1e6 }
