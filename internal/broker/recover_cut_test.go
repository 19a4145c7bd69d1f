package broker_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// write does one write of a commit to a data directory, or the first half of it.
type write func(t testing.TB, dir string, half bool)

// commitWrites compares a data directory before and after a commit and returns
// the commit's writes in the order in which they happen: the note, each
// partition's marker and its index entry, each group offset, the producer.
func commitWrites(t testing.TB, before, after string) []write {
	t.Helper()
	note := func(t testing.TB, dir string, half bool) {
		path := filepath.Join(dir, "endtxn.note")
		data, err := os.ReadFile(filepath.Join(dir, "note-of-this-copy"))
		ok(t, err)
		if half { // over the note before it
			old, err := os.ReadFile(path)
			ok(t, err)
			data = append(data[:len(data)/2:len(data)/2], old[min(len(old), len(data)/2):]...)
		}
		ok(t, os.WriteFile(path, data, 0o644))
	}
	writes := []write{note}
	dirs, err := filepath.Glob(filepath.Join(after, "partitions", "out-*"))
	ok(t, err)
	if len(dirs) != parts {
		t.Fatalf("%d partitions", len(dirs))
	}
	for _, d := range dirs {
		for _, name := range []string{"0.dat", "0.idx"} {
			writes = append(writes, tail(t, before, after, filepath.Join("partitions", filepath.Base(d), name)))
		}
	}
	writes = append(writes, frames(t, before, after, "groups.log")...)
	return append(writes, frames(t, before, after, "pids.log")...)
}

// tail is the append of what a file has gained.
func tail(t testing.TB, before, after, name string) write {
	t.Helper()
	old, err := os.ReadFile(filepath.Join(before, name))
	ok(t, err)
	now, err := os.ReadFile(filepath.Join(after, name))
	ok(t, err)
	if !bytes.HasPrefix(now, old) || len(now) == len(old) {
		t.Fatalf("%s has %d bytes before the commit and %d after it", name, len(old), len(now))
	}
	return appending(name, now[len(old):])
}

func appending(name string, data []byte) write {
	return func(t testing.TB, dir string, half bool) {
		if half {
			data = data[:len(data)/2]
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		ok(t, err)
		_, err = f.Write(data)
		ok(t, err)
		ok(t, f.Close())
	}
}

// frames is one append for each frame that a file has gained.
func frames(t testing.TB, before, after, name string) []write {
	t.Helper()
	old, err := os.ReadFile(filepath.Join(before, name))
	ok(t, err)
	now, err := os.ReadFile(filepath.Join(after, name))
	ok(t, err)
	var all []write
	for rest := now[len(old):]; len(rest) > 0; {
		n := 8 + int(binary.LittleEndian.Uint32(rest))
		all = append(all, appending(name, rest[:n:n]))
		rest = rest[n:]
	}
	if len(all) == 0 {
		t.Fatalf("%s has gained nothing", name)
	}
	return all
}

// renote makes the commit's note fit the copy, whose log of producers is another
// file than the original's, and puts it aside.
func renote(t testing.TB, dir, after string) {
	t.Helper()
	for _, n := range []struct{ from, to string }{
		{filepath.Join(after, "endtxn.note"), filepath.Join(dir, "note-of-this-copy")},
		{filepath.Join(dir, "endtxn.note"), filepath.Join(dir, "endtxn.note")},
	} {
		raw, err := os.ReadFile(n.from)
		ok(t, err)
		size := 8 + int(binary.LittleEndian.Uint32(raw))
		var note map[string]any
		d := json.NewDecoder(bytes.NewReader(raw[10:size]))
		d.UseNumber()
		ok(t, d.Decode(&note))
		info, err := os.Stat(filepath.Join(dir, "pids.log"))
		ok(t, err)
		note["log_file"] = info.Sys().(*syscall.Stat_t).Ino
		data, err := json.Marshal(note)
		ok(t, err)
		frame := make([]byte, 10, 10+len(data))
		frame = append(frame, data...)
		binary.LittleEndian.PutUint32(frame, uint32(2+len(data)))
		binary.LittleEndian.PutUint16(frame[8:], 1)
		binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], crc32.MakeTable(crc32.Castagnoli)))
		ok(t, os.WriteFile(n.to, frame, 0o644))
	}
}

// olderVersions are those of a producer before KIP-890.
func olderVersions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5)
	return v
}
