// Package pausetest lets tests stop a process as it is, so that it hangs with its connections open.
package pausetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// patience is how long a process may take to stand still: on a busy machine its threads stop only as their turns come.
const patience = 30 * time.Second

// Pause stops a process (SIGSTOP) and waits until every one of its threads stands still. SIGCONT has it go on.
func Pause(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("stopping process %d: %v", pid, err)
	}
	for deadline := time.Now().Add(patience); !standsStill(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not stand still within %s", pid, patience)
		}
	}
}

func standsStill(pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 { // no Linux: ask for the process as a whole
		state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		return err == nil && bytes.HasPrefix(state, []byte("T"))
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(task)
		if err != nil {
			continue // the thread is gone
		}
		// The state is the first letter after the name, which is in parentheses.
		if i := bytes.LastIndexByte(stat, ')'); i < 0 || i+2 >= len(stat) || stat[i+2] != 'T' {
			return false
		}
	}
	return true
}
