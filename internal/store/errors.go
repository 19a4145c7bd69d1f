package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// classify puts the sentinel of this package in front of an error of LevelDB or of the file system.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, leveldb.ErrClosed), errors.Is(err, storage.ErrClosed):
		return ErrClosed
	case isCorruption(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case isDiskFull(err):
		return fmt.Errorf("%w: %w; free some space and start again, the changelog holds what was not written", ErrDiskFull, err)
	}
	return err
}

// isCorruption also takes a file that is gone: LevelDB opens files by its own list of them.
func isCorruption(err error) bool {
	var table *lerrors.ErrCorrupted
	var file *storage.ErrCorrupted
	return errors.As(err, &table) || errors.As(err, &file) || errors.Is(err, os.ErrNotExist)
}

// isDiskFull also looks at the text, since LevelDB joins some errors with %v.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error())
}

// isLocked reports whether taking a directory's lock failed because another holder has it.
func isLocked(err error) bool {
	return errors.Is(err, storage.ErrLocked) || errors.Is(err, syscall.EAGAIN)
}
