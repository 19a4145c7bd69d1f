package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Checkpoint says where the rows restored from one changelog partition stand. It is written in the same batch as the
// rows, so the two always agree. Its bytes are documented in docs/format/checkpoint.md.
type Checkpoint struct {
	// Changelog is the name of the topic the rows are restored from.
	Changelog string
	// Partition is the changelog's partition, the task's own.
	Partition int32
	// TopicID is the changelog's Kafka topic id: a topic deleted and created anew has another one.
	TopicID [16]byte
	// Offset is the next offset to read: every changelog record below it is applied.
	Offset int64
	// Sequence is the commit sequence number of the task's last applied commit.
	Sequence uint64
	// StreamTime is the task's stream time at that commit, in milliseconds since the epoch.
	StreamTime int64
	// WrittenAt is the wall-clock time of writing, in milliseconds since the epoch, as the caller gave it. A
	// checkpoint older than the changelog's delete.retention.ms, less a margin, must be rebuilt: tombstones may
	// be gone from the log, and reading on would leave deleted rows alive.
	WrittenAt int64
}

// checkpointVersion is the newest encoding of a checkpoint this program reads, and the one it writes.
const checkpointVersion = 1

// castagnoli is the polynomial of every checksum of this package, crc32c.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *Checkpoint) validate() error {
	if err := validateName("checkpoint's changelog", c.Changelog); err != nil {
		return err
	}
	if c.Partition < 0 || c.Offset < 0 {
		return fmt.Errorf("%w: the checkpoint of %s has partition %d and offset %d; neither may be negative",
			ErrInvalid, c.Changelog, c.Partition, c.Offset)
	}
	return nil
}

// appendCheckpoint appends the encoding of a checkpoint to buffer.
func appendCheckpoint(buffer []byte, c *Checkpoint) []byte {
	start := len(buffer)
	buffer = append(buffer, checkpointVersion)
	buffer = binary.AppendUvarint(buffer, uint64(len(c.Changelog)))
	buffer = append(buffer, c.Changelog...)
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(c.Partition))
	buffer = append(buffer, c.TopicID[:]...)
	buffer = binary.BigEndian.AppendUint64(buffer, uint64(c.Offset))
	buffer = binary.BigEndian.AppendUint64(buffer, c.Sequence)
	buffer = binary.BigEndian.AppendUint64(buffer, uint64(c.StreamTime))
	buffer = binary.BigEndian.AppendUint64(buffer, uint64(c.WrittenAt))
	return appendChecksum(buffer, start)
}

// decodeCheckpoint is the inverse of appendCheckpoint. It fails with ErrCorrupt or ErrNewerFormat.
func decodeCheckpoint(data []byte) (Checkpoint, error) {
	var c Checkpoint
	body, err := checkedBody("a checkpoint", data, checkpointVersion)
	if err != nil {
		return c, err
	}
	name, rest, ok := cutName(body)
	if !ok || len(rest) != 4+16+4*8 {
		return c, fmt.Errorf("%w: a checkpoint has %d bytes that do not add up", ErrCorrupt, len(data))
	}
	c.Changelog = name
	c.Partition = int32(binary.BigEndian.Uint32(rest))
	copy(c.TopicID[:], rest[4:])
	rest = rest[20:]
	c.Offset = int64(binary.BigEndian.Uint64(rest))
	c.Sequence = binary.BigEndian.Uint64(rest[8:])
	c.StreamTime = int64(binary.BigEndian.Uint64(rest[16:]))
	c.WrittenAt = int64(binary.BigEndian.Uint64(rest[24:]))
	if err := c.validate(); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return c, nil
}

// appendChecksum appends the crc32c of buffer[start:].
func appendChecksum(buffer []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(buffer, crc32.Checksum(buffer[start:], castagnoli))
}

// checkedBody verifies a value of the form "version byte, body, crc32c" and returns the body. The checksum comes
// first: a damaged version byte is damage, not a newer format.
func checkedBody(what string, data []byte, newest byte) ([]byte, error) {
	if len(data) < 1+4 {
		return nil, fmt.Errorf("%w: %s of %d bytes is too short", ErrCorrupt, what, len(data))
	}
	content := data[:len(data)-4]
	if crc32.Checksum(content, castagnoli) != binary.BigEndian.Uint32(data[len(content):]) {
		return nil, fmt.Errorf("%w: %s fails its checksum", ErrCorrupt, what)
	}
	switch version := content[0]; {
	case version == 0:
		return nil, fmt.Errorf("%w: %s has version 0", ErrCorrupt, what)
	case version > newest:
		return nil, fmt.Errorf("%w: %s has version %d, this program reads up to %d", ErrNewerFormat, what, version, newest)
	}
	return content[1:], nil
}

// cutName takes a name with its uvarint length off the front of data.
func cutName(data []byte) (name string, rest []byte, ok bool) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > maxNameLength || uint64(len(data)-n) < length {
		return "", nil, false
	}
	end := n + int(length)
	return string(data[n:end]), data[end:], true
}
