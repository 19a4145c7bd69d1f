package subscriptions

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/commands/internal/follow"
)

// errRow says that a row of the store does not decode.
var errRow = errors.New("malformed row in the store of outcomes")

// The stores of the engine. Keys are big-endian, so that a command partition's rows lie in the order of the log.
//
//	commands    place                                      → a command
//	entries     place, kind, topic, partition, offset      → an event, a rejection or a dead letter
//	ids         length and bytes of an id, place           → nothing
//	aggregates  length and bytes of a key, place           → nothing
//	tags        length and bytes of a tag, place           → nothing
//	floors      partition                                  → the first place that is kept, and the time of the beginning
const (
	storeCommands   = "commands"
	storeEntries    = "entries"
	storeIDs        = "ids"
	storeAggregates = "aggregates"
	storeTags       = "tags"
	storeFloors     = "floors"
)

const rowVersion = 1

const placeSize = 12

func appendPlace(dst []byte, place follow.Place) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(place.Partition))
	return binary.BigEndian.AppendUint64(dst, uint64(place.Offset))
}

func parsePlace(data []byte) (follow.Place, bool) {
	if len(data) < placeSize {
		return follow.Place{}, false
	}
	return follow.Place{
		Partition: int32(binary.BigEndian.Uint32(data)),
		Offset:    int64(binary.BigEndian.Uint64(data[4:])),
	}, true
}

// appendName appends what the keys of one id's, or one aggregate's, rows begin with. The length in front keeps one
// name's rows apart from those of a name that it begins.
func appendName(dst []byte, name string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	return append(dst, name...)
}

// command is a row of storeCommands. Seen is the partition's clock when it was read, by which it expires.
type command struct {
	follow.Command
	seen int64
}

func appendCommand(dst []byte, c *command) []byte {
	dst = append(dst, rowVersion)
	dst = binary.AppendVarint(dst, c.seen)
	dst = binary.AppendVarint(dst, c.Timestamp)
	dst = appendText(dst, c.ID)
	dst = appendText(dst, string(c.Key))
	dst = appendText(dst, string(c.Fingerprint))
	dst = appendText(dst, c.Principal)
	if c.Tag == "" {
		return dst // as rows were before there were tags
	}
	return appendText(dst, c.Tag)
}

func parseCommand(place follow.Place, data []byte) (command, error) {
	r := row{data: data}
	r.version()
	c := command{seen: r.number()}
	c.Place = place
	c.Timestamp = r.number()
	c.ID = r.text()
	c.Key = []byte(r.text())
	c.Fingerprint = []byte(r.text())
	c.Principal = r.text()
	if !r.bad && len(r.data) > 0 {
		c.Tag = r.text()
		r.bad = r.bad || c.Tag == ""
	}
	return c, r.end("a command")
}

func appendEntryKey(dst []byte, e *follow.Entry) []byte {
	dst = appendPlace(dst, e.Cause)
	dst = append(dst, byte(e.Kind))
	dst = appendName(dst, e.Topic)
	return appendPlace(dst, follow.Place{Partition: e.Partition, Offset: e.Offset})
}

func appendEntry(dst []byte, e *follow.Entry) []byte {
	dst = append(dst, rowVersion)
	dst = binary.AppendVarint(dst, e.Timestamp)
	dst = appendText(dst, e.Command)
	dst = appendText(dst, string(e.Key))
	dst = appendText(dst, e.ID)
	dst = appendText(dst, e.Why)
	return appendText(dst, e.Reason)
}

func parseEntry(key, value []byte) (follow.Entry, error) {
	var e follow.Entry
	cause, ok := parsePlace(key)
	if !ok || len(key) < placeSize+1 {
		return e, fmt.Errorf("%w: the key of an entry has %d bytes", errRow, len(key))
	}
	e.Cause, e.Kind = cause, follow.Kind(key[placeSize])
	rest := key[placeSize+1:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || uint64(len(rest)-n) != length+placeSize {
		return e, fmt.Errorf("%w: the topic in the key of an entry", errRow)
	}
	e.Topic = string(rest[n : n+int(length)])
	own, _ := parsePlace(rest[n+int(length):])
	e.Partition, e.Offset = own.Partition, own.Offset
	r := row{data: value}
	r.version()
	e.Timestamp = r.number()
	e.Command = r.text()
	e.Key = []byte(r.text())
	e.ID = r.text()
	e.Why = r.text()
	e.Reason = r.text()
	return e, r.end("an entry")
}

func appendText(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

// row reads a value field by field; the first fault stays.
type row struct {
	data []byte
	bad  bool
}

func (r *row) version() {
	if len(r.data) == 0 || r.data[0] != rowVersion {
		r.bad = true
		return
	}
	r.data = r.data[1:]
}

func (r *row) number() int64 {
	value, n := binary.Varint(r.data)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return value
}

func (r *row) text() string {
	length, n := binary.Uvarint(r.data)
	if r.bad || n <= 0 || length > uint64(len(r.data)-n) {
		r.bad = true
		return ""
	}
	text := string(r.data[n : n+int(length)])
	r.data = r.data[n+int(length):]
	return text
}

func (r *row) end(what string) error {
	if r.bad || len(r.data) != 0 {
		return fmt.Errorf("%w: %s", errRow, what)
	}
	return nil
}
