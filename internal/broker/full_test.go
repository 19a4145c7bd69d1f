package broker_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
)

// TestNoRoom runs a broker into a limit of its files' size, in the place of a full disk, in the middle of transactions: it
// ends, acknowledges nothing that it could not write, and every transaction is whole when there is room again.
func TestNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	exe, err := os.Executable()
	ok(t, err)
	told := int64(0)
	for round := range 8 {
		blocks := int(largest(t, dir)/512) + 8 + rand.IntN(60)
		parent := exec.Command("/bin/sh", "-c", fmt.Sprintf("ulimit -f %d; exec \"$0\" \"$@\"", blocks), exe, dir)
		parent.Env = append(os.Environ(), roleVariable+"=parent")
		var said strings.Builder
		parent.Stderr = &said
		out, err := parent.StdoutPipe()
		ok(t, err)
		ok(t, parent.Start())
		end := time.AfterFunc(time.Minute, func() { parent.Process.Kill() })
		refused, child := "", 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if number, committed := strings.CutPrefix(lines.Text(), "committed "); committed {
				told, err = strconv.ParseInt(number, 10, 64)
				ok(t, err)
			} else if number, is := strings.CutPrefix(lines.Text(), "child "); is {
				child, err = strconv.Atoi(number)
				ok(t, err)
			} else if refused == "" {
				refused = lines.Text()
				if child > 0 {
					syscall.Kill(child, syscall.SIGKILL) // it may have ended: nothing is put right at leisure
				}
				parent.Process.Kill()
			}
		}
		parent.Wait()
		end.Stop()
		if !strings.Contains(said.String(), broker.ErrWrite.Error()) {
			t.Errorf("round %d: the broker has not said why it ended, and its client %q: %s", round, refused, said.String())
		}
		told = checkAfterCrash(t, round, dir, told) // the next round need not tell any
	}
	t.Logf("%d transactions", told)
}

// largest returns the size of the largest file in a directory.
func largest(t *testing.T, dir string) (size int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				size = max(size, info.Size())
			}
		}
		return nil // what is gone counts nothing
	})
	return size
}
