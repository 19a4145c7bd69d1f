package broker

import (
	"encoding/binary"
	"hash/crc32"
	"os"
)

// The node's own logs of groups and producers are frames of
//
//	length  uint32  of what follows the checksum
//	crc     uint32  CRC-32C of what follows it
//	version uint16  1
//	data            JSON
//
// all little-endian. The end-of-transaction note uses the same frame.
const (
	frameHeader  = 10
	frameVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends data as a frame.
func appendFrame(to, data []byte) []byte {
	at := len(to)
	to = append(to, make([]byte, frameHeader)...)
	to = append(to, data...)
	frame := to[at:]
	binary.LittleEndian.PutUint32(frame[0:], uint32(2+len(data)))
	binary.LittleEndian.PutUint16(frame[8:], frameVersion)
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], castagnoli))
	return to
}

// frame is a frame's data and where in its file it begins.
type frame struct {
	at   int64
	data []byte
}

// parseFrames returns the whole frames at the beginning of raw, and their length.
func parseFrames(raw []byte) (frames []frame, valid int64) {
	at := 0
	for len(raw)-at >= frameHeader {
		length := int(binary.LittleEndian.Uint32(raw[at:]))
		end := at + 8 + length
		if length < 2 || end > len(raw) || end < at {
			break
		}
		if crc32.Checksum(raw[at+8:end], castagnoli) != binary.LittleEndian.Uint32(raw[at+4:]) {
			break
		}
		frames = append(frames, frame{int64(at), raw[at+frameHeader : end]})
		at = end
	}
	return frames, int64(at)
}

// readFrames reads a file of frames and cuts off what a kill left half written,
// because what is appended after that could not be read. A missing file is empty.
func readFrames(path string) ([]frame, error) {
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	frames, valid := parseFrames(raw)
	if valid < int64(len(raw)) {
		if err := os.Truncate(path, valid); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

// appendFile appends to a file, in one write.
func appendFile(path string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
