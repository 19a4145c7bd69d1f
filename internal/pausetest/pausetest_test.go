package pausetest_test

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/pausetest"
)

func TestPause(t *testing.T) {
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cat.Process.Signal(syscall.SIGCONT)
		_ = in.Close()
		_ = cat.Wait()
	}()
	echo := make(chan struct{})
	pausetest.Pause(t, cat.Process.Pid)
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = out.Read(make([]byte, 1))
		close(echo)
	}()
	select {
	case <-echo:
		t.Fatal("it has answered while it stood still")
	case <-time.After(100 * time.Millisecond):
	}
	if err := cat.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-echo
}
