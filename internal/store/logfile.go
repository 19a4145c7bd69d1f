package store

import (
	"encoding/binary"

	"github.com/syndtr/goleveldb/leveldb/util"
)

// LevelDB's journals and manifests share one format: blocks of 32 KiB filled with chunks, each of a masked crc32c, a
// two-byte length, a type and a payload; a record is one full chunk, or a first, any number of middle ones and a last.
const (
	logBlockSize  = 32 << 10
	logHeaderSize = 7
)

const (
	chunkFull = iota + 1
	chunkFirst
	chunkMiddle
	chunkLast
)

// logFile is what a scan of a journal or manifest found.
type logFile struct {
	// intact is the length of the part before any damage, up to the end of a whole record.
	intact int
	// torn says that the file goes on after the intact part.
	torn bool
	// beyond says that whole records lie behind the damage: it is not the trace of a write that was cut off.
	beyond bool
}

// scanLog calls each for every whole record before the first damage; the record is valid only during the call.
func scanLog(data []byte, each func(record []byte) error) (logFile, error) {
	var file logFile
	var record []byte
	inRecord := false
	position := 0
	for {
		kind, payload, next := readChunk(data, position)
		if kind == 0 {
			position = next
			break
		}
		if starts := kind == chunkFull || kind == chunkFirst; starts == inRecord {
			break // a start within a record, or the rest of a record without its start
		}
		record = append(record, payload...)
		inRecord = kind == chunkFirst || kind == chunkMiddle
		position = next
		if inRecord {
			continue
		}
		if err := each(record); err != nil {
			return file, err
		}
		record = record[:0]
		file.intact = position
	}
	file.torn = file.intact < len(data) && !isPadding(data[file.intact:])
	file.beyond = file.torn && wholeRecordFrom(data, position)
	return file, nil
}

// readChunk reads the chunk at a position, behind the padding at the end of a block. It returns kind 0 if there is no
// valid one; next is then where to look for another: after the chunk, if its length can be believed, else in the
// next block, and never below position.
func readChunk(data []byte, position int) (kind byte, payload []byte, next int) {
	block := position % logBlockSize
	if logBlockSize-block < logHeaderSize {
		position += logBlockSize - block
		block = 0
	}
	nextBlock := position - block + logBlockSize
	if position+logHeaderSize > len(data) {
		return 0, nil, len(data)
	}
	length := int(binary.LittleEndian.Uint16(data[position+4:]))
	kind = data[position+6]
	end := position + logHeaderSize + length
	if kind < chunkFull || kind > chunkLast || end > nextBlock || end > len(data) {
		return 0, nil, min(nextBlock, len(data))
	}
	checksum := binary.LittleEndian.Uint32(data[position:])
	if checksum != util.NewCRC(data[position+6:end]).Value() {
		return 0, nil, end
	}
	return kind, data[position+logHeaderSize : end], end
}

// wholeRecordFrom looks for a whole record at or after a position, across damage.
func wholeRecordFrom(data []byte, position int) bool {
	inRecord := false
	for position < len(data) {
		kind, _, next := readChunk(data, position)
		if next <= position {
			next = position + 1
		}
		position = next
		switch kind {
		case chunkFull:
			return true
		case chunkFirst:
			inRecord = true
		case chunkLast:
			if inRecord {
				return true
			}
		case 0:
			inRecord = false
		}
	}
	return false
}

// isPadding reports whether the rest of a file is the filling of a block with no room for a header.
func isPadding(rest []byte) bool {
	if len(rest) >= logHeaderSize {
		return false
	}
	for _, b := range rest {
		if b != 0 {
			return false
		}
	}
	return true
}
