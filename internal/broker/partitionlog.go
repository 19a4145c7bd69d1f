package broker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A partition's directory holds segments, named after their first offset:
// <offset>.dat with record batches as on the wire, and <offset>.idx with an
// entry for each batch:
//
//	version  uint8   1
//	checksum uint8   the low byte of the CRC-32C of the rest
//	epoch    uint32  little-endian
//	maximum timestamp of this and earlier batches  uint64  little-endian
//	flags    uint8   1: the batch is part of a transaction
const indexEntry = 15

// Offsets in a record batch, and its attributes' bits.
const (
	batchLength     = 8
	batchAttributes = 21
	batchLastDelta  = 23
	batchProducerID = 43
	batchEpoch      = 51
	batchHeader     = 61
	transactional   = 0x10
	control         = 0x20
)

// partitionLog is what a scan has found out about a partition.
type partitionLog struct {
	dir  string
	last int64 // the first offset of the last segment
	next int64 // the offset after the last batch
	// open are the producers that have written in a transaction since their last
	// marker, with the epoch they wrote in.
	open map[int64]int16
	// index is the last entry of the last segment's index, to build the next from.
	index [indexEntry]byte
}

// scanPartition reads the headers of all batches and cuts off the end that a
// kill left half written: an incomplete batch, or one without its index entry,
// which the node would believe to be outside of a transaction. Neither was
// acknowledged. It returns nil for a partition without batches.
func scanPartition(dir string) (*partitionLog, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				bases = append(bases, base)
			}
		}
	}
	if len(bases) == 0 {
		return nil, nil
	}
	slices.Sort(bases)
	l := &partitionLog{dir: dir, last: bases[len(bases)-1], open: make(map[int64]int16)}
	for _, base := range bases {
		if err := l.scanSegment(base); err != nil {
			return nil, fmt.Errorf("reading segment %d of %s: %w", base, dir, err)
		}
	}
	return l, nil
}

func (l *partitionLog) file(base int64, ext string) string {
	return filepath.Join(l.dir, strconv.FormatInt(base, 10)+ext)
}

func (l *partitionLog) scanSegment(base int64) error {
	f, err := os.Open(l.file(base, ".dat"))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	index, err := os.ReadFile(l.file(base, ".idx"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	indexed := len(index) / indexEntry
	r := bufio.NewReaderSize(f, 1<<16)
	var at int64
	batches := 0
	for ; batches < indexed; batches++ {
		size, err := l.scanBatch(r, info.Size()-at)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		at += size
	}
	if batches > 0 {
		copy(l.index[:], index[(batches-1)*indexEntry:])
	}
	if at < info.Size() {
		if err := os.Truncate(l.file(base, ".dat"), at); err != nil {
			return err
		}
	}
	if batches*indexEntry < len(index) {
		return os.Truncate(l.file(base, ".idx"), int64(batches*indexEntry))
	}
	return nil
}

// scanBatch reads one batch and returns its size, or 0 if it is not whole.
func (l *partitionLog) scanBatch(r *bufio.Reader, left int64) (int64, error) {
	var h [batchHeader]byte
	if left < batchHeader {
		return 0, nil
	}
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, err
	}
	size := int64(binary.BigEndian.Uint32(h[batchLength:])) + 12
	if size < batchHeader || size > left {
		return 0, nil
	}
	attributes := binary.BigEndian.Uint16(h[batchAttributes:])
	producer := int64(binary.BigEndian.Uint64(h[batchProducerID:]))
	switch {
	case attributes&control != 0:
		delete(l.open, producer)
	case attributes&transactional != 0:
		l.open[producer] = int16(binary.BigEndian.Uint16(h[batchEpoch:]))
	}
	l.next = int64(binary.BigEndian.Uint64(h[:])) + int64(int32(binary.BigEndian.Uint32(h[batchLastDelta:]))) + 1
	_, err := r.Discard(int(size - batchHeader))
	return size, err
}

// end writes a producer's marker behind the last batch.
func (l *partitionLog) end(producer int64, epoch int16, commit bool) error {
	leaderEpoch := binary.LittleEndian.Uint32(l.index[2:])
	batch := marker(l.next, int32(leaderEpoch), producer, epoch, commit)
	entry := l.index
	entry[0] = 1
	if now := uint64(time.Now().UnixMilli()); now > binary.LittleEndian.Uint64(entry[6:]) {
		binary.LittleEndian.PutUint64(entry[6:], now)
	}
	entry[14] = 0
	entry[1] = byte(crc32.Checksum(entry[2:], castagnoli))
	err := appendFile(l.file(l.last, ".dat"), batch)
	if err == nil {
		err = appendFile(l.file(l.last, ".idx"), entry[:])
	}
	if err != nil {
		return fmt.Errorf("ending a transaction in %s: %w", l.dir, err)
	}
	l.next++
	l.index = entry
	delete(l.open, producer)
	return nil
}

// marker is the batch that ends a transaction, as a coordinator writes it.
func marker(offset int64, leaderEpoch int32, producer int64, epoch int16, commit bool) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	value := kmsg.EndTxnMarker{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // without the length itself, which is one byte
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		FirstOffset: offset, PartitionLeaderEpoch: leaderEpoch, Magic: 2, Attributes: transactional | control,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: producer, ProducerEpoch: epoch, FirstSequence: -1,
		NumRecords: 1, Records: rec.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[batchAttributes:], castagnoli))
	return raw
}
