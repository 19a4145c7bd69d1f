package broker

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFramesAreCutAtTheFirstFault(t *testing.T) {
	var file []byte
	for _, data := range []string{"one", "", "three"} {
		file = appendFrame(file, []byte(data))
	}
	for cut := range len(file) + 1 {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, file[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		frames, err := readFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole, n := 0, 0
		for _, end := range []int{13, 23, 38} {
			if cut >= end {
				whole, n = end, n+1
			}
		}
		if len(left) != whole || len(frames) != n {
			t.Errorf("cut at %d: %d frames in %d bytes, want %d in %d", cut, len(frames), len(left), n, whole)
		}
	}
	file[20] ^= 1 // in the second frame
	if frames, valid := parseFrames(file); len(frames) != 1 || valid != 13 {
		t.Errorf("%d frames in %d bytes after a flipped bit in the second", len(frames), valid)
	}
	if frames, err := readFrames(filepath.Join(t.TempDir(), "missing")); err != nil || frames != nil {
		t.Errorf("a missing file: %v, %v", frames, err)
	}
}

func FuzzParseFrames(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, []byte("one")), []byte("two")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		frames, valid := parseFrames(raw)
		var again []byte
		for _, fr := range frames {
			if fr.at != int64(len(again)) {
				t.Fatalf("a frame begins at %d, want %d", fr.at, len(again))
			}
			version := binary.LittleEndian.Uint16(raw[fr.at+8:])
			again = appendFrame(again, fr.data)
			if version != frameVersion {
				t.Skip() // another version is read, but not written
			}
		}
		if !bytes.Equal(again, raw[:valid]) {
			t.Errorf("%x was read as frames that write %x", raw[:valid], again)
		}
	})
}

func FuzzScanPartition(f *testing.F) {
	batch := marker(0, 3, 77, 5, true)
	f.Add(batch, make([]byte, indexEntry))
	f.Add(append(batch, marker(1, 3, 78, 0, false)...), make([]byte, 2*indexEntry))
	f.Add(batch[:40], make([]byte, indexEntry))
	f.Fuzz(func(t *testing.T, data, index []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{"0.dat": data, "0.idx": index} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		first, err := scanPartition(dir)
		if err != nil {
			t.Fatal(err)
		}
		for id, epoch := range first.open {
			if err := first.end(id, epoch, false); err != nil {
				t.Fatal(err)
			}
		}
		again, err := scanPartition(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(again.open) != 0 {
			t.Errorf("still open after its markers: %v", again.open)
		}
		if again.next != first.next {
			t.Errorf("the next offset is %d, then %d", first.next, again.next)
		}
	})
}

func TestMarkerIsACoordinatorsMarker(t *testing.T) {
	for _, commit := range []bool{false, true} {
		raw := marker(42, 7, 1234, 5, commit)
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		var rec kmsg.Record
		var key kmsg.ControlRecordKey
		if err := rec.ReadFrom(b.Records); err != nil {
			t.Fatal(err)
		}
		if err := key.ReadFrom(rec.Key); err != nil {
			t.Fatal(err)
		}
		if b.FirstOffset != 42 || b.PartitionLeaderEpoch != 7 || b.ProducerID != 1234 || b.ProducerEpoch != 5 || int(b.Length) != len(raw)-12 ||
			b.Attributes != transactional|control || (key.Type == kmsg.ControlRecordKeyTypeCommit) != commit {
			t.Errorf("commit %v: %+v, key %+v", commit, b, key)
		}
	}
}

func TestRetentionKeepsOffCompactedTopics(t *testing.T) {
	for text, want := range map[string]bool{
		`{"topics":[{"configs":{"cleanup.policy":"compact"}}]}`:                           false,
		`{"topics":[{"configs":{"cleanup.policy":"compact","retention.ms":"-1"}}]}`:       false,
		`{"topics":[{"configs":{"retention.ms":"5"}},{}]}`:                                false,
		`{"topics":[{"configs":{"cleanup.policy":"compact,delete","retention.ms":"5"}}]}`: false,
		`{"topics":[{},{"configs":{"cleanup.policy":"compact","retention.bytes":"5"}}]}`:  true,
		`{"topics":[{"configs":{"cleanup.policy":"compact","retention.ms":"5"}}]}`:        true,
		`not json`: true,
	} {
		if got := onlyCompacted([]byte(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
