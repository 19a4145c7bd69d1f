// Package meta holds what the framework writes beside a record's body: header names and their bytes, and the metadata
// of a committed offset. docs/format/headers.md is its specification.
package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrMalformed says that a header or an offset's metadata is not what this package writes.
var ErrMalformed = errors.New("malformed metadata")

// Prefix begins the name of every header of the framework.
const Prefix = "tidemill-"

// Header names. A record without any of them is a record all the same.
const (
	// Command carries the id of the command that an event or a rejection follows from, as text.
	Command = "tidemill-command"
	// Cause carries the place of that command in its topic: AppendCause's bytes.
	Cause = "tidemill-cause"
	// Fingerprint carries eight bytes that tell two bodies under one command id apart; a commander sets it over what the
	// client asked for, without the time it asked.
	Fingerprint = "tidemill-fingerprint"
	// Principal carries who sent a command, as the authorizer named it.
	Principal = "tidemill-principal"
	// Changelog carries, on a changelog record, AppendChangelog's bytes.
	Changelog = "tidemill-changelog"

	// DeadTopic, DeadPartition, DeadOffset, DeadTimestamp (decimal text), DeadKind and DeadError are set on a dead letter,
	// whose key, value and other headers are the original's bytes.
	DeadTopic     = "tidemill-dead-topic"
	DeadPartition = "tidemill-dead-partition"
	DeadOffset    = "tidemill-dead-offset"
	DeadTimestamp = "tidemill-dead-timestamp"
	DeadKind      = "tidemill-dead-kind"
	DeadError     = "tidemill-dead-error"
	DeadNode      = "tidemill-dead-node"
)

// AppendCause appends the place of a command: uvarint partition, uvarint offset.
func AppendCause(dst []byte, partition int32, offset int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(partition))
	return binary.AppendUvarint(dst, uint64(offset))
}

// ParseCause reads what AppendCause wrote.
func ParseCause(data []byte) (partition int32, offset int64, err error) {
	p, n := binary.Uvarint(data)
	if n <= 0 || p > 1<<31-1 {
		return 0, 0, fmt.Errorf("%w: cause's partition", ErrMalformed)
	}
	o, m := binary.Uvarint(data[n:])
	if m <= 0 || o > 1<<63-1 || n+m != len(data) {
		return 0, 0, fmt.Errorf("%w: cause's offset", ErrMalformed)
	}
	return int32(p), int64(o), nil
}

// Offset is the metadata that rides on every committed offset of a task.
type Offset struct {
	Sequence   uint64 // of the task's commits, from 1; 0 when none was made
	StreamTime int64  // milliseconds; the highest record timestamp that the task has seen
}

// String returns "1:<sequence>:<stream time>", decimal.
func (o Offset) String() string {
	return "1:" + strconv.FormatUint(o.Sequence, 10) + ":" + strconv.FormatInt(o.StreamTime, 10)
}

// ParseOffset reads what Offset.String wrote; the empty text is the zero Offset, for offsets that a tool has set.
func ParseOffset(text string) (Offset, error) {
	if text == "" {
		return Offset{}, nil
	}
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] != "1" {
		return Offset{}, fmt.Errorf("%w: offset metadata %q", ErrMalformed, text)
	}
	sequence, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return Offset{}, fmt.Errorf("%w: sequence in offset metadata %q", ErrMalformed, text)
	}
	streamTime, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return Offset{}, fmt.Errorf("%w: stream time in offset metadata %q", ErrMalformed, text)
	}
	return Offset{Sequence: sequence, StreamTime: streamTime}, nil
}
