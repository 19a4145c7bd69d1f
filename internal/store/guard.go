package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// guard stands between LevelDB and its files and decides, when a store is opened, what may be believed.
//
// A process killed in the middle of a write leaves a journal that ends in part of a batch; a machine that loses
// power may lose more of the end, since journals are not synchronised. Both are harmless: a batch holds its rows and
// their checkpoint, so that every number of batches from the beginning is a state the task was once in, with the
// checkpoint that belongs to it, and the changelog supplies the rest. What must not happen is a gap: LevelDB, left to
// itself, skips a damaged block and applies the batches behind it, or opens an old manifest with a newer journal, and
// the checkpoint then claims rows that are not there. So the guard hands over the intact part of each journal and
// manifest only, and insists that the batches' sequence numbers go on without a gap from the manifest through all
// journals; damage with whole records behind it, and a gap, are corruption.
//
// LevelDB opens the manifest first and then the journals in their order, all before the engine is in use.
type guard struct {
	storage.Storage
	// next is the sequence number expected of the next batch; slack says that the one after it is fine too. Both
	// belong to the goroutine that opens the store.
	next  uint64
	slack bool
	// created and removed count journals: a new one begins with a new write buffer, and is removed once the rows
	// of its buffer are in a sorted file.
	created, removed atomic.Int64
}

// Open returns a reader of the believable part of a file.
func (g *guard) Open(fd storage.FileDesc) (storage.Reader, error) {
	switch fd.Type {
	case storage.TypeManifest:
		return g.openLog(fd, g.manifestRecord)
	case storage.TypeJournal:
		return g.openLog(fd, g.batchRecord)
	case storage.TypeTable:
		return g.openTable(fd)
	}
	return g.Storage.Open(fd)
}

// Create creates a file. Sorted files are written through a buffer: LevelDB writes them block by block and reads them only
// once they are synchronised. Journals are not: what is in them must be the operating system's when a write returns.
func (g *guard) Create(fd storage.FileDesc) (storage.Writer, error) {
	if fd.Type == storage.TypeJournal {
		g.created.Add(1)
	}
	writer, err := g.Storage.Create(fd)
	if err != nil || fd.Type != storage.TypeTable {
		return writer, err
	}
	return newTableWriter(writer), nil
}

// Remove removes a file.
func (g *guard) Remove(fd storage.FileDesc) error {
	if fd.Type == storage.TypeJournal {
		g.removed.Add(1)
	}
	return g.Storage.Remove(fd)
}

func (g *guard) openLog(fd storage.FileDesc, each func(record []byte) error) (storage.Reader, error) {
	reader, err := g.Storage.Open(fd)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(reader)
	if closeErr := reader.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	file, err := scanLog(data, each)
	if err != nil {
		return nil, lerrors.NewErrCorrupted(fd, err)
	}
	if file.beyond {
		return nil, lerrors.NewErrCorrupted(fd, fmt.Errorf("damaged at byte %d, with whole records behind it", file.intact))
	}
	return prefixReader{bytes.NewReader(data[:file.intact])}, nil
}

// batchRecord checks a journal's record: sequence number of the first operation, number of operations, operations.
func (g *guard) batchRecord(record []byte) error {
	if len(record) < 12 {
		return fmt.Errorf("a batch of %d bytes", len(record))
	}
	first, count := binary.LittleEndian.Uint64(record), uint64(binary.LittleEndian.Uint32(record[8:]))
	if first != g.next && !(g.slack && first == g.next+1) {
		return fmt.Errorf("batches are missing: number %d is next, number %d is there", g.next, first)
	}
	g.next, g.slack = first+count, false
	return nil
}

// manifestRecord notes the last sequence number the sorted files hold. LevelDB writes the last number used, but after
// replaying journals the one after it; either way it numbers the next batch from one above what it wrote. Only a
// replay that was itself cut off is followed by a journal that begins with the number written: hence the slack.
func (g *guard) manifestRecord(record []byte) error {
	sequence, found, err := manifestSequence(record)
	if found {
		g.next, g.slack = sequence, true
	}
	return err
}

// The fields of a manifest's record, by LevelDB's numbers for them.
const (
	manifestComparer    = 1
	manifestJournal     = 2
	manifestNextFile    = 3
	manifestSequenceTag = 4
	manifestCompaction  = 5
	manifestDeleted     = 6
	manifestAdded       = 7
	manifestOldJournal  = 9
)

var errManifest = errors.New("a record of the manifest does not decode")

// manifestSequence returns the sequence number in a manifest's record, if there is one.
func manifestSequence(record []byte) (sequence uint64, found bool, err error) {
	// What follows each tag: n is a number, b a number of bytes and the bytes.
	layout := map[uint64]string{
		manifestComparer: "b", manifestJournal: "n", manifestNextFile: "n", manifestSequenceTag: "n",
		manifestCompaction: "nb", manifestDeleted: "nn", manifestAdded: "nnnbb", manifestOldJournal: "n",
	}
	for len(record) > 0 {
		tag, n := binary.Uvarint(record)
		fields, known := layout[tag]
		if n <= 0 || !known {
			return 0, false, errManifest
		}
		record = record[n:]
		for _, kind := range fields {
			value, n := binary.Uvarint(record)
			if n <= 0 {
				return 0, false, errManifest
			}
			record = record[n:]
			if tag == manifestSequenceTag {
				sequence, found = value, true
			}
			if kind != 'b' {
				continue
			}
			if value > uint64(len(record)) {
				return 0, false, errManifest
			}
			record = record[value:]
		}
	}
	return sequence, found, nil
}

const (
	tableFooterSize   = 48
	tableBlockTrailer = 5 // compression type and checksum
	tableMagic        = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"
)

// openTable checks the footer of a sorted file, the one part without a checksum: LevelDB would reserve as many bytes
// as a damaged footer asks for.
func (g *guard) openTable(fd storage.FileDesc) (storage.Reader, error) {
	reader, err := g.Storage.Open(fd)
	if err != nil {
		return nil, err
	}
	if err := checkTableFooter(reader); err != nil {
		_ = reader.Close() // read only: nothing is lost
		return nil, lerrors.NewErrCorrupted(fd, err)
	}
	return reader, nil
}

func checkTableFooter(reader storage.Reader) error {
	size, err := reader.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var footer [tableFooterSize]byte
	if size < tableFooterSize {
		return fmt.Errorf("a sorted file of %d bytes is too short", size)
	}
	if _, err := reader.ReadAt(footer[:], size-tableFooterSize); err != nil {
		return err
	}
	if string(footer[tableFooterSize-len(tableMagic):]) != tableMagic {
		return errors.New("a sorted file ends without its magic number")
	}
	rest := footer[:]
	for _, block := range []string{"meta index", "index"} {
		offset, n := binary.Uvarint(rest)
		length, m := binary.Uvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 || offset > uint64(size) || length > uint64(size) ||
			offset+length+tableBlockTrailer > uint64(size)-tableFooterSize {
			return fmt.Errorf("the footer of a sorted file places the %s outside the file", block)
		}
		rest = rest[n+m:]
	}
	return nil
}

// prefixReader is the intact part of a file, in memory: journals are about as large as the write buffer.
type prefixReader struct{ *bytes.Reader }

// Close does nothing; the file itself is closed.
func (prefixReader) Close() error { return nil }
