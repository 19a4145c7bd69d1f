package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// markerName is the file that makes a directory a store. Only a directory that holds it is opened or destroyed, so
// that a mistyped path costs nobody their files.
const (
	markerName   = "TIDEMILL-STORE"
	markerPrefix = "tidemill store, format "
)

// ownFiles are the names a store directory may hold besides the marker: LevelDB's, and a marker half written.
var ownFiles = regexp.MustCompile(`^(LOCK|LOG|LOG\.old|CURRENT(\.bak|\.[0-9]+)?|MANIFEST-[0-9]+|[0-9]+\.(log|ldb|sst|tmp)|TIDEMILL-STORE\.tmp)$`)

// preliminary are those of them that creating a store leaves behind when it is cut off before the marker is there.
var preliminary = regexp.MustCompile(`^(LOCK|LOG|LOG\.old|TIDEMILL-STORE\.tmp)$`)

// inspect reports whether a directory holds a store, or nothing yet. Anything else is ErrNotStore.
func inspect(dir string) (exists bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	foreign := ""
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == markerName:
			exists = true
		case !preliminary.MatchString(name):
			foreign = name
		}
	}
	if !exists && foreign != "" {
		return false, fmt.Errorf("%w: it holds %q but no %s; give the store a directory of its own", ErrNotStore, foreign, markerName)
	}
	return exists, nil
}

// checkMarker returns ErrNewerFormat or ErrCorrupt for a marker this program cannot go by.
func checkMarker(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, markerName))
	if err != nil {
		return err
	}
	text, ok := strings.CutPrefix(string(content), markerPrefix)
	version, err := strconv.Atoi(strings.TrimSuffix(text, "\n"))
	switch {
	case !ok || err != nil || version < 1:
		return fmt.Errorf("%w: the file %s does not read as %q and a number", ErrCorrupt, markerName, markerPrefix)
	case version > formatVersion:
		return fmt.Errorf("%w: it has format %d, this program reads up to %d", ErrNewerFormat, version, formatVersion)
	}
	return nil
}

// writeMarker makes the directory a store.
func writeMarker(dir string) error {
	temporary := filepath.Join(dir, markerName+".tmp")
	if err := os.WriteFile(temporary, fmt.Appendf(nil, "%s%d\n", markerPrefix, formatVersion), 0o640); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, markerName))
}

// lock opens a directory's files and takes its lock.
func lock(dir string) (storage.Storage, error) {
	files, err := storage.OpenFile(dir, false)
	if err != nil && isLocked(err) {
		return nil, fmt.Errorf("%w: another process, or another part of this one, has %s open; stop it, or give this one a directory of its own", ErrLocked, dir)
	}
	return files, classify(err)
}

// Destroy removes a store's directory, for a rebuild from the changelog or because its partition has gone elsewhere.
// It removes only what a store consists of: a directory without the marker of a store, or with anything else in it,
// is left as it is with ErrNotStore, and one in use with ErrLocked. A directory that does not exist is no error. A
// corrupt store can be destroyed; one whose destruction was cut off, too.
func Destroy(dir string) error {
	if err := destroy(dir); err != nil {
		return fmt.Errorf("destroying the store in %s: %w", dir, err)
	}
	return nil
}

func destroy(dir string) error {
	exists, err := inspect(dir)
	if err != nil || !exists {
		return err
	}
	files, err := lock(dir)
	if err != nil {
		return err
	}
	err = removeFiles(dir)
	if closeErr := files.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeFiles empties a directory whose lock is held. The marker goes last but for the lock, so that what a crash
// leaves behind is still known for a store.
func removeFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != markerName && (entry.IsDir() || !ownFiles.MatchString(name)) {
			return fmt.Errorf("%w: it holds %q, which is not part of one; nothing was removed", ErrNotStore, name)
		}
	}
	for _, entry := range entries {
		if name := entry.Name(); name != markerName && name != "LOCK" {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for _, name := range []string{markerName, "LOCK"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
