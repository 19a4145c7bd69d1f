//go:build unix

package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockFile is flocked for as long as a broker has the directory; the kernel lets
// go of it however the process ends. Its text is only for people to read.
const lockFile = "LOCK"

type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &dirLock{f}, nil
	}
	defer f.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	holder, _ := io.ReadAll(io.LimitReader(f, 200))
	who := strings.TrimSpace(string(holder))
	if who == "" {
		who = "another process"
	}
	return nil, fmt.Errorf("%w: %s is held by %s; stop that one, or choose another directory", ErrLocked, dir, who)
}

// describe says in the lock file who holds it.
func (l *dirLock) describe(addr string) {
	if l == nil {
		return
	}
	text := fmt.Sprintf("the broker with process id %d on %s\n", os.Getpid(), addr)
	if l.f.Truncate(0) == nil {
		l.f.WriteAt([]byte(text), 0)
	}
}

func (l *dirLock) unlock() error {
	if l == nil {
		return nil
	}
	l.f.Truncate(0)
	return l.f.Close()
}
