package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childVariable names the directory a child process of the test works on.
const childVariable = "TIDEMILL_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child opens a store and applies its history from where it stands, printing the number of each batch that Apply has
// confirmed, until it is killed or the pipe it prints to is closed.
func child(dir string) int {
	engine, err := OpenLevelDB(dir, historyOptions)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	n, err := readHistory(engine)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	batch := NewBatch()
	for {
		historyBatch(batch, n+1)
		if err := engine.Apply(batch); err != nil {
			fmt.Println("error:", err)
			return 1
		}
		n++
		if _, err := fmt.Println(n); err != nil {
			return 1
		}
	}
}

// startChild runs a child until its first batch is confirmed. Lines returns what it printed and how it ended; it is
// to be called after the child was killed.
func startChild(t *testing.T, dir string) (process *os.Process, lines func() (last string)) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childVariable+"="+dir)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(output)
	last := ""
	if scanner.Scan() {
		last = scanner.Text()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner.Scan() {
			last = scanner.Text()
		}
	}()
	return command.Process, func() string {
		<-done
		_ = command.Wait() // it was killed
		return last
	}
}

// TestKill kills a process that writes without pause, with SIGKILL, again and again: whatever Apply had confirmed is
// there, and rows and checkpoint agree.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for round := range 8 {
		process, lines := startChild(t, dir)
		time.Sleep(time.Duration(round*7) * time.Millisecond) // let it write for a while, each time longer
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		last := lines()
		var confirmed int
		if _, err := fmt.Sscan(last, &confirmed); err != nil {
			t.Fatalf("round %d: the child said %q", round, last)
		}
		engine, err := OpenLevelDB(dir, historyOptions)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		n, err := readHistory(engine)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if n < confirmed {
			t.Fatalf("round %d: batch %d was confirmed, the store stands at %d", round, confirmed, n)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLocked opens a directory that another process, and then another engine of this one, has open.
func TestLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	process, lines := startChild(t, dir)
	_, openErr := OpenLevelDB(dir, Options{})
	destroyErr := Destroy(dir)
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	lines()
	for _, err := range []error{openErr, destroyErr} {
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "stop it") {
			t.Errorf("with the directory open in another process: %v", err)
		}
	}
	engine, err := OpenLevelDB(dir, historyOptions) // the lock died with its holder
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readHistory(engine); err != nil {
		t.Errorf("after two refusals: %v", err)
	}
	if _, err := OpenLevelDB(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("with the directory open in this process: %v, want ErrLocked", err)
	}
	if err := Destroy(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("destroying an open store: %v, want ErrLocked", err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(dir); err != nil {
		t.Errorf("destroying a closed store: %v", err)
	}
}
