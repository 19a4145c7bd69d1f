package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// makeStore creates a store with a history of 30 batches and returns its directory.
func makeStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deeper", "store")
	engine, err := OpenLevelDB(dir, historyOptions)
	if err != nil {
		t.Fatal(err)
	}
	writeHistory(t, engine, 1, 30)
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names returns the names in a directory, or nil if there is none.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    error
	}{
		"newer marker":         {func(t *testing.T, dir string) { write(t, dir, markerName, markerPrefix+"2\n") }, ErrNewerFormat},
		"empty marker":         {func(t *testing.T, dir string) { write(t, dir, markerName, "") }, ErrCorrupt},
		"garbled marker":       {func(t *testing.T, dir string) { write(t, dir, markerName, "tidemill store, format x\n") }, ErrCorrupt},
		"other marker":         {func(t *testing.T, dir string) { write(t, dir, markerName, "1\n") }, ErrCorrupt},
		"no marker":            {func(t *testing.T, dir string) { remove(t, dir, markerName) }, ErrNotStore},
		"garbled CURRENT":      {func(t *testing.T, dir string) { write(t, dir, "CURRENT", "x"); remove(t, dir, "CURRENT.bak") }, ErrCorrupt},
		"no CURRENT":           {func(t *testing.T, dir string) { remove(t, dir, "CURRENT"); remove(t, dir, "CURRENT.bak") }, ErrCorrupt},
		"no manifest":          {func(t *testing.T, dir string) { remove(t, dir, "MANIFEST-*") }, ErrCorrupt},
		"empty manifest":       {func(t *testing.T, dir string) { truncate(t, dir, "MANIFEST-*") }, ErrCorrupt},
		"no sorted files":      {func(t *testing.T, dir string) { remove(t, dir, "*.ldb") }, ErrCorrupt},
		"empty sorted files":   {func(t *testing.T, dir string) { truncate(t, dir, "*.ldb") }, ErrCorrupt},
		"a newer format":       {func(t *testing.T, dir string) { rewrite(t, dir, formatKey, appendChecksum([]byte{2}, 0)) }, ErrNewerFormat},
		"a garbled format":     {func(t *testing.T, dir string) { rewrite(t, dir, formatKey, []byte("x")) }, ErrCorrupt},
		"a format too long":    {func(t *testing.T, dir string) { rewrite(t, dir, formatKey, appendChecksum([]byte{1, 1}, 0)) }, ErrCorrupt},
		"no format":            {func(t *testing.T, dir string) { rewrite(t, dir, formatKey, nil) }, ErrCorrupt},
		"garbled names":        {func(t *testing.T, dir string) { rewrite(t, dir, catalogKey, []byte("names")) }, ErrCorrupt},
		"newer names":          {func(t *testing.T, dir string) { rewrite(t, dir, catalogKey, appendChecksum([]byte{9}, 0)) }, ErrNewerFormat},
		"no names":             {func(t *testing.T, dir string) { rewrite(t, dir, catalogKey, nil) }, ErrCorrupt},
		"a garbled checkpoint": {func(t *testing.T, dir string) { rewrite(t, dir, checkpointKey("c"), []byte("x")) }, ErrCorrupt},
		"an empty checkpoint":  {func(t *testing.T, dir string) { rewrite(t, dir, checkpointKey("c"), []byte{}) }, ErrCorrupt},
		"another's checkpoint": {func(t *testing.T, dir string) {
			rewrite(t, dir, checkpointKey("c"), appendCheckpoint(nil, &Checkpoint{Changelog: "d"}))
		}, ErrCorrupt},
		"a newer checkpoint": {func(t *testing.T, dir string) {
			rewrite(t, dir, checkpointKey("c"), appendChecksum([]byte{2, 'n', 'e', 'w'}, 0))
		}, ErrNewerFormat},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeStore(t)
			c.prepare(t, dir)
			before := names(t, dir)
			engine, err := OpenLevelDB(dir, historyOptions)
			if !errors.Is(err, c.want) || engine != nil {
				t.Fatalf("OpenLevelDB: %v, %v, want %v", engine, err, c.want)
			}
			if c.want == ErrNotStore {
				if after := names(t, dir); len(after) != len(before) {
					t.Errorf("a refused directory has changed from %q to %q", before, after)
				}
				return
			}
			if err := Destroy(dir); err != nil { // whatever is wrong with it, it can be destroyed and made anew
				t.Fatalf("Destroy: %v", err)
			}
			engine, err = OpenLevelDB(dir, historyOptions)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := readHistory(engine); n != 0 || err != nil {
				t.Errorf("a new store stands at batch %d, %v", n, err)
			}
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// matching calls change for each file that matches, of which there must be one.
func matching(t *testing.T, dir, pattern string, change func(path string) error) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 && pattern != "CURRENT.bak" {
		t.Fatalf("no file is called %s", pattern)
	}
	for _, path := range paths {
		if err := change(path); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, dir, pattern string) {
	t.Helper()
	matching(t, dir, pattern, os.Remove)
}

func truncate(t *testing.T, dir, pattern string) {
	t.Helper()
	matching(t, dir, pattern, func(path string) error { return os.Truncate(path, 0) })
}

// rewrite sets one of the engine's own rows, or deletes it if the value is nil.
func rewrite(t *testing.T, dir string, key, value []byte) {
	t.Helper()
	opened, err := OpenLevelDB(dir, historyOptions)
	if err != nil {
		t.Fatal(err)
	}
	engine := opened.(*levelDB)
	if value == nil {
		err = engine.db.Delete(key, nil)
	} else {
		err = engine.db.Put(key, value, nil)
	}
	if err := errors.Join(err, engine.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "thesis.txt", "mine")
	if _, err := OpenLevelDB(dir, Options{}); !errors.Is(err, ErrNotStore) {
		t.Errorf("opening a directory with other files: %v, want ErrNotStore", err)
	}
	if _, err := OpenLevelDB(filepath.Join(dir, "thesis.txt"), Options{}); err == nil {
		t.Error("opening a file as a directory succeeded")
	}
	if after := names(t, dir); len(after) != 1 {
		t.Errorf("a refused directory now holds %q", after)
	}
	interrupted := t.TempDir() // what creating a store leaves when it is cut off early
	for _, name := range []string{"LOCK", "LOG", markerName + ".tmp"} {
		write(t, interrupted, name, "")
	}
	engine, err := OpenLevelDB(interrupted, Options{})
	if err != nil {
		t.Fatalf("opening what a first opening left: %v", err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDestroy(t *testing.T) {
	dir := makeStore(t)
	write(t, dir, "thesis.txt", "mine")
	before := names(t, dir)
	if err := Destroy(dir); !errors.Is(err, ErrNotStore) {
		t.Errorf("destroying a store with another file in it: %v, want ErrNotStore", err)
	}
	if after := names(t, dir); len(after) != len(before) {
		t.Errorf("a refused directory has changed from %q to %q", before, after)
	}
	remove(t, dir, "thesis.txt")
	if err := os.Mkdir(filepath.Join(dir, "000001.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(dir); !errors.Is(err, ErrNotStore) {
		t.Errorf("destroying a store with a directory in it: %v, want ErrNotStore", err)
	}
	remove(t, dir, "000001.log")
	for range 2 { // the second time it is gone already
		if err := Destroy(dir); err != nil {
			t.Fatalf("Destroy: %v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory is still there: %v", err)
		}
	}
	foreign := t.TempDir()
	write(t, foreign, "CURRENT", "of somebody else")
	if err := Destroy(foreign); !errors.Is(err, ErrNotStore) || len(names(t, foreign)) != 1 {
		t.Errorf("destroying another's directory: %v, left %q", err, names(t, foreign))
	}
}

func TestDestroyCutOff(t *testing.T) {
	dir := makeStore(t)
	remove(t, dir, "CURRENT")
	remove(t, dir, "*.ldb")
	remove(t, dir, "*.log") // the marker is still there
	if err := Destroy(dir); err != nil {
		t.Errorf("destroying what a destruction left: %v", err)
	}
	if left := names(t, dir); left != nil {
		t.Errorf("left: %q", left)
	}
}

func TestOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for name, options := range map[string]Options{
		"write buffer": {WriteBuffer: -1}, "large write buffer": {WriteBuffer: 2 << 30}, "open files": {OpenFiles: -1},
		"bloom bits": {BloomBits: 100}, "compression": {Compression: 7},
	} {
		if _, err := OpenLevelDB(dir, options); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if names(t, dir) != nil {
		t.Error("an opening that was refused has made a directory")
	}
	n := 0
	for _, options := range []Options{ // one after the other on the same files
		{}, {Compression: CompressionNone, Sync: true}, {BloomBits: -1}, {WriteBuffer: 1, OpenFiles: 1, Cache: NewCache(-1)}, {},
	} {
		engine, err := OpenLevelDB(dir, options)
		if err != nil {
			t.Fatalf("%+v: %v", options, err)
		}
		writeHistory(t, engine, n+1, n+20)
		if n, err = readHistory(engine); err != nil {
			t.Errorf("%+v: %v", options, err)
		}
		if err := engine.Close(); err != nil {
			t.Errorf("%+v: %v", options, err)
		}
	}
	if n != 100 {
		t.Errorf("the store stands at batch %d, want 100", n)
	}
}
