package torture

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// smallSize is the size of the small disk: enough for one processor's state.
const smallSize = "48m"

// mountSmall makes a small disk, if that is permitted.
func (w *world) mountSmall() {
	dir := filepath.Join(w.dir, "small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+smallSize); err != nil {
		say("no small disk: mounting a tmpfs is not permitted here (%v); no disk will be full", err)
		return
	}
	w.small = dir
	w.closing = append(w.closing, func() {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := syscall.Unmount(dir, 0)
			if err == nil || errors.Is(err, syscall.EINVAL) {
				return
			}
			if time.Now().After(deadline) {
				w.t.Errorf("unmounting %s: %v", dir, err)
				return
			}
		}
	})
}

// ballast is the file that fills the small disk.
func (w *world) ballast() string { return filepath.Join(w.small, "ballast") }

// fillSmall fills the small disk to the last byte.
func (w *world) fillSmall() {
	file, err := os.Create(w.ballast())
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 1<<16)
	for len(block) > 0 {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// emptySmall makes room again.
func (w *world) emptySmall() {
	if w.small != "" {
		_ = os.Remove(w.ballast()) // there may be none
	}
}
