package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch is a whole batch as it is in the log.
type batch []byte

// Where the fields of a batch are.
const (
	lengthAt      = 8
	lengthEnd     = 12
	magicAt       = 16
	magicEnd      = 17 // the checksum's place
	crcEnd        = 21 // what the checksum is of begins here, with the attributes
	lastDeltaAt   = 23
	firstTimeAt   = 27
	maxTimeAt     = 35
	producerAt    = 43
	countAt       = 57
	headerBytes   = 61
	currentFormat = 2
)

// The bits of a batch's attributes.
const (
	compressionBits  = 0x07
	appendTimeBit    = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cut takes the first batch off what was fetched; nil if there is none or only a part of one, as at the end of what a broker
// answers.
func cut(data []byte) (b batch, rest []byte, err error) {
	if len(data) < magicEnd {
		return nil, nil, nil
	}
	length := int64(int32(binary.BigEndian.Uint32(data[lengthAt:])))
	if length < 0 {
		return nil, nil, fmt.Errorf("%w: its length is %d", ErrMalformed, length)
	}
	if size := length + lengthEnd; size <= int64(len(data)) {
		b, rest = data[:size:size], data[size:]
	} else {
		return nil, nil, nil
	}
	switch {
	case data[magicAt] != currentFormat:
		return nil, nil, fmt.Errorf("%w: %d at offset %d", ErrFormat, data[magicAt], b.first())
	case len(b) < headerBytes:
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	case b.lastDelta() < 0:
		return nil, nil, fmt.Errorf("%w: its last offset is below its first one", ErrMalformed)
	}
	return b, rest, nil
}

func (b batch) first() int64      { return int64(binary.BigEndian.Uint64(b)) }
func (b batch) lastDelta() int32  { return int32(binary.BigEndian.Uint32(b[lastDeltaAt:])) }
func (b batch) last() int64       { return b.first() + int64(b.lastDelta()) }
func (b batch) attributes() uint8 { return b[crcEnd+1] } // the upper byte is not used
func (b batch) control() bool     { return b.attributes()&controlBit != 0 }
func (b batch) producer() int64   { return int64(binary.BigEndian.Uint64(b[producerAt:])) }
func (b batch) count() int        { return int(int32(binary.BigEndian.Uint32(b[countAt:]))) }

// timestamp returns that of a record, in ms: the broker's of the whole batch if the topic has it so.
func (b batch) timestamp(delta int64) int64 {
	if b.attributes()&appendTimeBit != 0 {
		return int64(binary.BigEndian.Uint64(b[maxTimeAt:]))
	}
	return int64(binary.BigEndian.Uint64(b[firstTimeAt:])) + delta
}

// abortions are the first offsets of the aborted transactions in what was fetched, by producer, in ascending order. Which begins
// first counts for a producer until its marker is passed.
type abortions map[int64][]int64

func abortedOf(fetched *kmsg.FetchResponseTopicPartition) abortions {
	if len(fetched.AbortedTransactions) == 0 {
		return nil
	}
	a := abortions{}
	for _, aborted := range fetched.AbortedTransactions {
		a[aborted.ProducerID] = append(a[aborted.ProducerID], aborted.FirstOffset)
	}
	for _, firsts := range a { // not every broker sorts them
		slices.Sort(firsts)
	}
	return a
}

// has tells whether a batch belongs to an aborted transaction, or is its marker.
func (a abortions) has(b batch) bool {
	if len(a) == 0 || b.attributes()&transactionalBit == 0 {
		return false
	}
	firsts := a[b.producer()]
	return len(firsts) > 0 && b.first() >= firsts[0]
}

// end passes a producer's first aborted transaction.
func (a abortions) end(producer int64) {
	if firsts := a[producer]; len(firsts) > 0 {
		a[producer] = firsts[1:]
	}
}

// endsAborted tells whether a marker with this key ends an aborted transaction: 2 bytes version, 2 bytes type, which is 0.
func endsAborted(key []byte) bool { return len(key) >= 4 && key[2] == 0 && key[3] == 0 }
