package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestMemoryBound: a process above its bound is killed, and the error says why; one below it is not.
func TestMemoryBound(t *testing.T) {
	for _, test := range []struct {
		bound int64
		want  error
	}{{bound: 64 << 10, want: errMemory}, {bound: 1 << 30}} {
		run, err := startProcess(exec.Command("sleep", "2"), filepath.Join(t.TempDir(), "log"), test.bound)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-run.ended:
		case <-time.After(20 * time.Second):
			run.kill()
			t.Fatal("it has not ended")
		}
		if !errors.Is(run.err, test.want) {
			t.Errorf("with a bound of %d it ended with %v, want %v", test.bound, run.err, test.want)
		}
	}
}

// TestMemoryLimit: the kernel refuses a limited process what is beyond its limit, and only that.
func TestMemoryLimit(t *testing.T) {
	const child = "TIDEMILL_BENCH_TEST_ALLOCATE"
	if text := os.Getenv(child); text != "" {
		if err := limitMemory(256 << 20); err != nil {
			t.Fatal(err)
		}
		megabytes, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, megabytes<<20)
		for at := 0; at < len(data); at += 4096 { // each page
			data[at] = 1
		}
		if bytes.Count(data, []byte{1}) == 0 {
			t.Error("nothing was written")
		}
		return
	}
	for megabytes, fits := range map[int]bool{64: true, 512: false} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryLimit$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", child, megabytes))
		out, err := cmd.CombinedOutput()
		const crashed = 2 // the status of a Go program that the runtime ends; a test that fails has 1
		if code := cmd.ProcessState.ExitCode(); (code == 0) != fits || (code == crashed) == fits {
			t.Errorf("%d MB under a limit of 256: %v\n%.500s", megabytes, err, out)
		}
	}
}
