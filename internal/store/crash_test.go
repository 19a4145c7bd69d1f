package store

import (
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// TestTornJournal cuts the journal off at every byte of its last batches, as a kill in the middle of a write may. A
// torn end is no corruption: the engine comes back at the last batch that is there whole, rows and checkpoint alike.
func TestTornJournal(t *testing.T) {
	const history = 26 // the last large batch is 17, in the middle of the file; one more is added below
	live := newDisk()
	options := historyOptions
	options.WriteBuffer = 1 << 20 // one journal for all
	engine, err := openFiles(live, options)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	ends := make([]int, history+3) // of the journal after each batch
	var journal storage.FileDesc
	var crashed *disk
	for n := 1; n <= history+2; n++ {
		writeHistory(t, engine, n, n)
		crashed = live.crash()
		journals := crashed.of(storage.TypeJournal)
		if len(journals) != 1 {
			t.Fatalf("%d journals after batch %d, want one", len(journals), n)
		}
		journal = journals[0]
		ends[n] = len(crashed.content[journal])
	}
	content := crashed.content[journal]
	tail := ends[history-3]
	for cut := tail; cut <= len(content); cut++ {
		large := cut > ends[history]+200 && cut < ends[history+1]-200 // within batch 27
		if large && cut%997 != 0 && (cut+10)%logBlockSize > 20 {
			continue // the inside of the large batch in steps, but for the ends of blocks
		}
		want := 0
		for n := range ends {
			if ends[n] <= cut {
				want = n
			}
		}
		n, intact := crashed.with(journal, content[:cut]).open(t, "a journal cut off")
		if !intact || n != want {
			t.Fatalf("cut off at byte %d of %d: at batch %d, intact %v, want batch %d", cut, len(content), n, intact, want)
		}
	}
	// One bit wrong anywhere but in the last batch: whole batches lie behind the damage, and are not applied.
	for at := 0; at < ends[history+1]; at += 1 + at/50 {
		damaged := append([]byte(nil), content...)
		damaged[at] ^= 4
		if n, intact := crashed.with(journal, damaged).open(t, "a journal damaged inside"); intact {
			t.Fatalf("damaged at byte %d of %d: opened at batch %d, want ErrCorrupt", at, len(content), n)
		}
	}
	// The rest of a block zeroed, as a file system may leave the end of a file after a loss of power.
	for cut := tail; cut < len(content); cut += 101 {
		zeroed := append(content[:cut:cut], make([]byte, len(content)-cut)...)
		if n, intact := crashed.with(journal, zeroed).open(t, "a journal zeroed"); !intact || n < history-3 {
			t.Fatalf("zeroed from byte %d: at batch %d, intact %v", cut, n, intact)
		}
	}
}

// TestTwoJournals damages the first of two journals: the second must not be applied without the whole first one.
func TestTwoJournals(t *testing.T) {
	live := newDisk()
	live.hold = make(chan struct{}) // the first journal stays in use until its rows are in a sorted file
	options := historyOptions
	options.WriteBuffer = 60 << 10 // room for one large batch, 7; the next, 17, needs a new buffer and journal
	engine, err := openFiles(live, options)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	defer close(live.hold)
	const history = 20
	writeHistory(t, engine, 1, history)
	crashed := live.crash()
	journals := crashed.of(storage.TypeJournal)
	if len(journals) != 2 {
		t.Fatalf("%d journals, want two", len(journals))
	}
	first, second := journals[0], journals[1]
	if n, intact := crashed.open(t, "both journals"); !intact || n != history {
		t.Fatalf("both journals: at batch %d, intact %v", n, intact)
	}
	length := len(crashed.content[first])
	for cut := 0; cut < length; cut += 1 + cut/20 {
		if n, intact := crashed.with(first, crashed.content[first][:cut]).open(t, "the first journal cut off"); intact {
			t.Fatalf("first journal cut off at byte %d of %d: opened at batch %d, want ErrCorrupt", cut, length, n)
		}
	}
	if n, intact := crashed.with(first, nil).open(t, "the first journal missing"); intact {
		t.Errorf("without the first journal: opened at batch %d, want ErrCorrupt", n)
	}
	if n, intact := crashed.with(second, nil).open(t, "the second journal missing"); !intact || n >= 17 {
		t.Errorf("without the second journal: at batch %d, intact %v, want an earlier batch", n, intact)
	}
	length = len(crashed.content[second])
	for cut := 0; cut < length; cut += 1 + min(cut, length-cut)/10 {
		if n, intact := crashed.with(second, crashed.content[second][:cut]).open(t, "the second journal cut off"); !intact || n >= history {
			t.Fatalf("second journal cut off at byte %d of %d: at batch %d, intact %v", cut, length, n, intact)
		}
	}
}

// TestDamage flips bits all over the files, and removes each: the engine reports the damage, or is at the earlier
// batch its checkpoint names, but never gives a wrong answer. LevelDB by itself fails this test.
func TestDamage(t *testing.T) {
	const history = 60
	live := newDisk()
	engine, err := openFiles(live, historyOptions)
	if err != nil {
		t.Fatal(err)
	}
	writeHistory(t, engine, 1, history/2)
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if engine, err = openFiles(live, historyOptions); err != nil { // moves the journal into a sorted file
		t.Fatal(err)
	}
	defer engine.Close()
	writeHistory(t, engine, history/2+1, history)
	if err := engine.db.CompactRange(util.Range{}); err != nil {
		t.Fatal(err)
	}
	writeHistory(t, engine, history+1, history+5)
	crashed := live.crash()
	if n, intact := crashed.open(t, "nothing damaged"); !intact || n != history+5 {
		t.Fatalf("nothing damaged: at batch %d, intact %v", n, intact)
	}
	reported, earlier, unharmed := 0, 0, 0
	for fd, content := range crashed.content {
		for at := 0; at < len(content); at += 1 + min(at, len(content)-at)/60 {
			damaged := append([]byte(nil), content...)
			damaged[at] ^= 1 << (at % 8)
			switch n, intact := crashed.with(fd, damaged).open(t, fd.String()); {
			case !intact:
				reported++
			case n < history+5:
				earlier++
			default:
				unharmed++
			}
		}
		crashed.with(fd, nil).open(t, fd.String()+" missing")
	}
	tables := crashed.of(storage.TypeTable)
	damageFooter(t, crashed, tables[len(tables)-1]) // the newest is in use for sure
	t.Logf("damage reported %d times, an earlier batch %d times, no harm done %d times", reported, earlier, unharmed)
	if reported == 0 || earlier == 0 {
		t.Errorf("damage was reported %d times and led to an earlier batch %d times: the test has lost its point", reported, earlier)
	}
}

// damageFooter does its worst to the end of a sorted file, which has no checksum.
func damageFooter(t *testing.T, crashed *disk, fd storage.FileDesc) {
	t.Helper()
	content := crashed.content[fd]
	for bit := 8 * (len(content) - tableFooterSize); bit < 8*len(content); bit++ {
		damaged := append([]byte(nil), content...)
		damaged[bit/8] ^= 1 << (bit % 8)
		crashed.with(fd, damaged).open(t, fd.String())
	}
	huge := append([]byte(nil), content...)
	copy(huge[len(huge)-tableFooterSize:], "\x00\xff\xff\xff\xff\xff\xff\xff\x3f") // a block of 2^62 bytes
	if n, intact := crashed.with(fd, huge).open(t, fd.String()); intact {
		t.Errorf("a footer that asks for 2^62 bytes: opened at batch %d, want ErrCorrupt", n)
	}
}
