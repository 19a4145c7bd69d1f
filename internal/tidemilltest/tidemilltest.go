// Package tidemilltest runs the tidemill command in processes of its own, for tests that kill and stop it.
package tidemilltest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/porttest"
)

// Build builds the command, in .cache/<name> of the module, and returns its path. It is for test packages two directories below
// the module's root, each with a name of its own, and once in each.
func Build(name string, flags ...string) (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, ".cache", name, "tidemill")
	build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./cmd/tidemill")...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return path, nil
}

// Environment is this process's without settings of tidemill.
func Environment() (kept []string) {
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TIDEMILL_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// FreeAddr returns a loopback address that nobody has now, and no other call is given.
func FreeAddr(t testing.TB) string {
	t.Helper()
	port, err := porttest.Take()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// RemoveAll removes a directory that the broker of a killed process may be about to leave: it closes its files by itself.
func RemoveAll(t testing.TB, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := os.RemoveAll(dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("removing %s: %v", dir, err)
			return
		}
	}
}

// ChildOf returns the id of a process's one child, such as the broker's of `tidemill up`, or 0. The error says that there is no
// /proc to find it in.
func ChildOf(parent int) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		// pid (comm) state ppid …
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			return pid, nil
		}
	}
	return 0, nil
}
