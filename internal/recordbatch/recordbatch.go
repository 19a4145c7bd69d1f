// Package recordbatch reads Kafka's record batches (message format 2, KIP-98) where they were fetched to. It makes nothing for a
// record: a restore of a million records would otherwise spend a third of its processor time on objects that live for a moment.
//
// What is committed is decided as franz-go's ProcessFetchPartition does, which is the oracle of its tests.
package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The errors of this package.
var (
	// ErrMalformed reports bytes that are not what a broker answers: a wrong checksum, lengths that do not add up.
	ErrMalformed = errors.New("malformed record batch")
	// ErrFormat reports a message format older than 2, in which nothing with headers or transactions can have been written.
	ErrFormat = errors.New("message format not supported")
)

// Record is a record or a transaction's marker. All of it belongs to the Reader: it is valid until visit returns.
type Record struct {
	Offset    int64
	Timestamp int64 // ms since the epoch
	// Key and Value are nil if they are null.
	Key, Value []byte
	Headers    []Header
	// Control says that it is a transaction's marker.
	Control bool
}

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Reader reads batches. It belongs to one goroutine.
type Reader struct {
	memory  decompressed
	inflate kgo.Decompressor
	record  Record
	name    string // of the last header: as a rule all records have the same
}

// NewReader returns a reader.
func NewReader() *Reader {
	r := &Reader{}
	r.inflate = kgo.DefaultDecompressor(&r.memory)
	return r
}

// decompressed is the memory for a decompressed batch, one at a time. It implements kgo.PoolDecompressBytes.
type decompressed struct{ bytes []byte }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (d *decompressed) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	bytes := d.bytes
	if d.bytes = nil; bytes == nil {
		bytes = make([]byte, 0, 4*len(compressed))
	}
	return bytes
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (d *decompressed) PutDecompressBytes(bytes []byte) { d.bytes = bytes }

// Committed visits the committed records and the markers that were fetched with isolation level read_committed, from an offset
// on, in their order. It returns the offset below which there is no other: that after the last whole batch, or from if there is
// none. visit's error ends it.
func (r *Reader) Committed(fetched *kmsg.FetchResponseTopicPartition, from int64, visit func(*Record) error) (next int64, err error) {
	aborted, rest := abortedOf(fetched), fetched.RecordBatches
	for next = from; ; {
		b, after, err := cut(rest)
		if err != nil || b == nil {
			return next, err
		}
		if rest = after; b.last() < next {
			continue // all of it was read before
		}
		if err := r.visitBatch(b, next, aborted, visit); err != nil {
			return next, fmt.Errorf("the batch at offset %d: %w", b.first(), err)
		}
		next = b.last() + 1
	}
}

// Next returns the offset after the last whole batch, or from if that is not below it: what to fetch next, before the batches
// are read. It looks at their lengths only.
func Next(batches []byte, from int64) int64 {
	for {
		b, rest, err := cut(batches)
		if err != nil || b == nil {
			return from
		}
		from, batches = max(from, b.last()+1), rest
	}
}

func (r *Reader) visitBatch(b batch, from int64, aborted abortions, visit func(*Record) error) error {
	if crc32.Checksum(b[crcEnd:], castagnoli) != binary.BigEndian.Uint32(b[magicEnd:]) {
		return fmt.Errorf("%w: the checksum is wrong", ErrMalformed)
	}
	drop := aborted.has(b)
	if drop && !b.control() {
		return nil
	}
	data := b[headerBytes:]
	if codec := kgo.CompressionCodecType(b.attributes() & compressionBits); codec != 0 {
		inflated, err := r.inflate.Decompress(data, codec)
		if err != nil {
			return fmt.Errorf("decompressing: %w", err)
		}
		defer r.memory.PutDecompressBytes(inflated)
		data = inflated
	}
	count := b.count()
	if count < 0 || count > len(data) {
		return fmt.Errorf("%w: %d records in %d bytes", ErrMalformed, count, len(data))
	}
	c := cursor{data: data}
	for i := range count {
		if !r.decode(&c, b) {
			return fmt.Errorf("%w: record %d of %d", ErrMalformed, i+1, count)
		}
		if drop && i == 0 && endsAborted(r.record.Key) {
			aborted.end(b.producer())
		}
		if r.record.Offset < from {
			continue
		}
		if err := visit(&r.record); err != nil {
			return err
		}
	}
	return nil
}

// decode reads the next record into r.record.
func (r *Reader) decode(c *cursor, b batch) bool {
	length := c.varint()
	if length < 0 || length > int64(len(c.data)-c.at) {
		return false
	}
	end := c.at + int(length)
	in := cursor{data: c.data[:end], at: c.at + 1} // after the attributes, which have no meaning yet
	c.at = end
	record := &r.record
	record.Timestamp = b.timestamp(in.varint())
	record.Offset = b.first() + in.varint()
	record.Key, record.Value = in.bytes(), in.bytes()
	record.Control = b.control()
	record.Headers = record.Headers[:0]
	for n := in.varint(); n > 0 && !in.bad; n-- {
		if name := in.bytes(); string(name) != r.name {
			r.name = string(name)
		}
		record.Headers = append(record.Headers, Header{Key: r.name, Value: in.bytes()})
	}
	return !in.bad
}

// cursor reads the parts of a record. After bad has been set what it returns means nothing.
type cursor struct {
	data []byte
	at   int
	bad  bool
}

// varint reads a number in zigzag encoding.
func (c *cursor) varint() int64 {
	if c.at < len(c.data) {
		if first := c.data[c.at]; first < 0x80 {
			c.at++
			return int64(first>>1) ^ -int64(first&1)
		}
	}
	return c.longVarint()
}

func (c *cursor) longVarint() int64 {
	if c.at > len(c.data) {
		c.bad = true
		return 0
	}
	value, n := binary.Varint(c.data[c.at:])
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return value
}

// bytes reads a length and as many bytes; a negative length is null.
func (c *cursor) bytes() []byte {
	length := c.varint()
	if length < 0 {
		return nil
	}
	if c.bad || length > int64(len(c.data)-c.at) {
		c.bad = true
		return nil
	}
	begin := c.at
	c.at += int(length)
	return c.data[begin:c.at:c.at]
}
