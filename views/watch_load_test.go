package views_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
)

// watchers is how many subscriptions TestWatchLoad opens.
var watchers = flag.Int("views.watches", 1000, "subscriptions that TestWatchLoad opens; 10000 for the promise itself")

// What an instance of a view may take up: so many bytes for itself, and so many a subscription, which is 300 MB for 10,000.
const (
	loadBase         = 35_000_000
	loadSubscription = 26_500
)

// loadChanges is how many changes TestWatchLoad sends to everybody.
const loadChanges = 20

// subscriber is one open stream of TestWatchLoad.
type subscriber struct {
	connection net.Conn
	lines      *bufio.Reader
}

// subscribe opens a stream over a connection of its own and reads up to its ready.
func subscribe(address, path string) (*subscriber, error) {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	s := &subscriber{connection, bufio.NewReaderSize(connection, 512)}
	if err := connection.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nUser-Agent: a browser of some length\r\n\r\n", path, address)
	if err == nil {
		err = s.await("event: ready")
	}
	return s, err
}

// await reads up to a line.
func (s *subscriber) await(line string) error {
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

// resident returns the memory that a process takes up now, and at most so far.
func resident(t testing.TB, pid int) (now, peak int) {
	t.Helper()
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

// allow raises the number of files that this process, and its children, may have open.
func allow(t testing.TB, files int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= uint64(files) {
		return
	}
	if limit.Max < uint64(files) {
		t.Skipf("skipped: this machine allows %d open files, and %d are needed", limit.Max, files)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// TestWatchLoad opens many subscriptions over HTTP to one instance, a process of its own: half of them to a prefix, half to
// one key. It holds what the process takes up in memory against what is promised, and tells how long a change takes to reach
// all of them.
func TestWatchLoad(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	allow(t, *watchers+200)
	s := &shared{fixture: newFixture(t, kafkatest.Embedded(t), 4)}
	for i := range 200 {
		s.put(t, "k"+strconv.Itoa(i), number(float64(i)))
	}
	server := s.spawn(t, "load", func(c *instanceConfig) { c.Name, c.Group = "load", "" })
	eventually(t, "the view is restored", func() bool {
		response, err := client.Get(server.url + "/values/k199")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == 200
	})
	address := strings.TrimPrefix(server.url, "http://")
	alone, _ := resident(t, server.pid)
	began := time.Now()
	all := make([]*subscriber, *watchers)
	inParallel(t, 32, len(all), func(i int) (err error) {
		path := "/values/k1"
		if i%2 == 0 {
			path = "/values?prefix=k1"
		}
		all[i], err = subscribe(address, path)
		return err
	})
	t.Cleanup(func() {
		for _, one := range all {
			if one != nil {
				one.connection.Close()
			}
		}
	})
	opened := time.Since(began)
	open, _ := resident(t, server.pid)
	took := make([]time.Duration, 0, loadChanges)
	for i := range loadChanges {
		written := time.Now()
		s.put(t, "k1", number(float64(1000+i)))
		line := fmt.Sprintf(`data: {"value_id":"k1","value":%d.0}`, 1000+i)
		inParallel(t, 32, len(all), func(i int) error { return all[i].await(line) })
		took = append(took, time.Since(written))
	}
	slices.Sort(took)
	now, peak := resident(t, server.pid)
	bound := loadBase + *watchers*loadSubscription
	t.Logf("%d subscriptions: %.1f MB alone, %.1f MB when they were open (%v), %.1f MB after %d changes to all, at most %.1f MB; the bound is %.1f MB, %.1f kB a subscription",
		*watchers, mega(alone), mega(open), opened.Round(time.Millisecond), mega(now), loadChanges, mega(peak), mega(bound), float64(peak-alone)/1e3/float64(*watchers))
	t.Logf("a change reached all in %v (median), %v (longest)", took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
	if peak > bound {
		t.Errorf("%d subscriptions take %.1f MB, the bound is %.1f MB", *watchers, mega(peak), mega(bound))
	}
}

func mega(bytes int) float64 { return float64(bytes) / 1e6 }

// inParallel calls f for each number below count, by so many goroutines, and fails with the first error.
func inParallel(t testing.TB, goroutines, count int, f func(int) error) {
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
