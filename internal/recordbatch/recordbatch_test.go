package recordbatch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/recordbatch"
)

// appendBatch appends a batch as a broker keeps it.
func appendBatch(dst []byte, batch kmsg.RecordBatch) []byte {
	const beforeLength, beforeChecksum = 12, 21
	batch.Magic = 2
	batch.Length = int32(len(batch.AppendTo(nil)) - beforeLength)
	batch.CRC = int32(crc32.Checksum(batch.AppendTo(nil)[beforeChecksum:], crc32.MakeTable(crc32.Castagnoli)))
	return batch.AppendTo(dst)
}

func appendRecord(dst []byte, r kmsg.Record) []byte {
	r.Length = 0
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	return r.AppendTo(dst)
}

// fetched makes what a broker might answer: batches of three producers, plain, compressed, in transactions and with markers,
// with gaps that compaction has left.
func fetched(random *rand.Rand) *kmsg.FetchResponseTopicPartition {
	answer := &kmsg.FetchResponseTopicPartition{}
	open := map[int64]int64{} // first offset of an open transaction, by producer
	offset := int64(random.IntN(100))
	for range random.IntN(12) {
		producer := int64(random.IntN(3))
		batch := kmsg.RecordBatch{
			FirstOffset: offset, ProducerID: producer, FirstTimestamp: 1_700_000_000_000 + int64(random.IntN(1000)), MaxTimestamp: 1_800_000_000_000,
			Attributes: int16(random.IntN(2) * 0x08),
		}
		first, inTransaction := open[producer]
		switch {
		case inTransaction && random.IntN(2) == 0: // a marker
			kind := byte(random.IntN(2))
			batch.Attributes |= 0x30
			batch.NumRecords = 1
			batch.Records = appendRecord(nil, kmsg.Record{Key: []byte{0, 0, 0, kind}, Value: make([]byte, 6)})
			delete(open, producer)
			if kind == 0 {
				answer.AbortedTransactions = append(answer.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: producer, FirstOffset: first})
			}
		default:
			if inTransaction || random.IntN(2) == 0 {
				batch.Attributes |= 0x10
				if !inTransaction {
					open[producer] = offset
				}
			}
			addRecords(random, &batch)
		}
		answer.RecordBatches = appendBatch(answer.RecordBatches, batch)
		offset += int64(batch.LastOffsetDelta) + 1 + int64(random.IntN(2)*random.IntN(5))
	}
	for producer, first := range open { // decided behind what was fetched
		if random.IntN(2) == 0 {
			answer.AbortedTransactions = append(answer.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: producer, FirstOffset: first})
		}
	}
	random.Shuffle(len(answer.AbortedTransactions), func(i, j int) {
		a := answer.AbortedTransactions
		a[i], a[j] = a[j], a[i]
	})
	if size := len(answer.RecordBatches); size > 0 && random.IntN(3) == 0 {
		answer.RecordBatches = answer.RecordBatches[:size-random.IntN(min(size, 80))]
	}
	return answer
}

// packer compresses, all batches: it is dear to make.
var packer = func() kgo.Compressor {
	made, err := kgo.DefaultCompressor(kgo.Lz4Compression())
	if err != nil {
		panic(err)
	}
	return made
}()

func addRecords(random *rand.Rand, batch *kmsg.RecordBatch) {
	at := int32(0)
	for range random.IntN(6) {
		at += int32(random.IntN(3))
		r := kmsg.Record{OffsetDelta: at, TimestampDelta64: int64(random.IntN(2000) - 1000), Key: bytesOrNil(random), Value: bytesOrNil(random)}
		for range random.IntN(3) {
			r.Headers = append(r.Headers, kmsg.Header{Key: fmt.Sprint("h", random.IntN(2)), Value: bytesOrNil(random)})
		}
		batch.Records = appendRecord(batch.Records, r)
		batch.NumRecords++
		at++
	}
	batch.LastOffsetDelta = at + int32(random.IntN(3))
	if batch.NumRecords > 0 && random.IntN(3) == 0 {
		packed, codec := packer.Compress(new(bytes.Buffer), batch.Records)
		batch.Records, batch.Attributes = packed, batch.Attributes|int16(codec)
	}
}

func bytesOrNil(random *rand.Rand) []byte {
	if random.IntN(4) == 0 {
		return nil
	}
	data := make([]byte, random.IntN(3)*random.IntN(100))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

func describe(offset, timestamp int64, key, value []byte, control bool, headers []kgo.RecordHeader) string {
	text := fmt.Sprintf("%d %d %q %t %q %t %t", offset, timestamp, key, key == nil, value, value == nil, control)
	for _, h := range headers {
		text += fmt.Sprintf(" %s=%q %t", h.Key, h.Value, h.Value == nil)
	}
	return text + "\n"
}

// TestAsFranzGo reads what brokers might answer, and finds what franz-go finds.
func TestAsFranzGo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	reader, unpacker := recordbatch.NewReader(), kgo.DefaultDecompressor()
	found := 0
	for round := range 2000 {
		answer, from := fetched(random), int64(random.IntN(120))
		want, got := "", ""
		theirs, theirNext := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			KeepControlRecords: true, Offset: from, IsolationLevel: kgo.ReadCommitted(),
		}, answer, unpacker, nil)
		if theirs.Err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, theirs.Err)
		}
		for _, r := range theirs.Records {
			want += describe(r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Attrs.IsControl(), r.Headers)
		}
		next, err := reader.Committed(answer, from, func(r *recordbatch.Record) error {
			var headers []kgo.RecordHeader
			for _, h := range r.Headers {
				headers = append(headers, kgo.RecordHeader(h))
			}
			got += describe(r.Offset, r.Timestamp, r.Key, r.Value, r.Control, headers)
			return nil
		})
		if err != nil || got != want || next != theirNext {
			t.Fatalf("seed %d, round %d: read up to %d, %v\n%swant up to %d\n%s", seed, round, next, err, got, theirNext, want)
		}
		if ahead := recordbatch.Next(answer.RecordBatches, from); ahead != next {
			t.Fatalf("seed %d, round %d: next is %d, and was said to be %d", seed, round, next, ahead)
		}
		found += len(theirs.Records)
	}
	if found == 0 {
		t.Fatal("there was nothing to read")
	}
}

// TestDamage reads a batch with each of its bytes changed in turn.
func TestDamage(t *testing.T) {
	batch := kmsg.RecordBatch{FirstOffset: 7, NumRecords: 1, Records: appendRecord(nil, kmsg.Record{Key: []byte("key"), Value: []byte("value")})}
	whole := appendBatch(nil, batch)
	const checksummed = 16 // what comes before says where the batch is, and how long
	for i := checksummed; i < len(whole); i++ {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 0x40
		_, err := recordbatch.NewReader().Committed(&kmsg.FetchResponseTopicPartition{RecordBatches: damaged}, 0, func(*recordbatch.Record) error { return nil })
		if !errors.Is(err, recordbatch.ErrMalformed) && !errors.Is(err, recordbatch.ErrFormat) {
			t.Errorf("byte %d: got %v", i, err)
		}
	}
}

// TestVisitFails ends at the first error.
func TestVisitFails(t *testing.T) {
	batch := kmsg.RecordBatch{NumRecords: 1, Records: appendRecord(nil, kmsg.Record{Key: []byte("key")})}
	answer := &kmsg.FetchResponseTopicPartition{RecordBatches: appendBatch(appendBatch(nil, batch), kmsg.RecordBatch{FirstOffset: 1})}
	full := errors.New("full")
	if next, err := recordbatch.NewReader().Committed(answer, 0, func(*recordbatch.Record) error { return full }); next != 0 || !errors.Is(err, full) {
		t.Errorf("got %d, %v", next, err)
	}
}

// FuzzCommitted holds that no bytes panic, and that what is said to come next is what comes next.
func FuzzCommitted(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		f.Add(fetched(random).RecordBatches, int64(0))
	}
	f.Fuzz(func(t *testing.T, batches []byte, from int64) {
		for at := 0; at+61 <= len(batches); { // checksums that are right, so that more than they is looked at
			size := 12 + int(int32(binary.BigEndian.Uint32(batches[at+8:])))
			if size < 61 || size > len(batches)-at {
				break
			}
			binary.BigEndian.PutUint32(batches[at+17:], crc32.Checksum(batches[at+21:at+size], crc32.MakeTable(crc32.Castagnoli)))
			at += size
		}
		next, err := recordbatch.NewReader().Committed(&kmsg.FetchResponseTopicPartition{RecordBatches: batches}, from, func(r *recordbatch.Record) error {
			if r.Offset < from {
				return fmt.Errorf("record %d is below %d", r.Offset, from)
			}
			return nil
		})
		if err == nil && next != recordbatch.Next(batches, from) {
			t.Errorf("next is %d, and was said to be %d", next, recordbatch.Next(batches, from))
		}
		if err != nil && !errors.Is(err, recordbatch.ErrMalformed) && !errors.Is(err, recordbatch.ErrFormat) && next < from {
			t.Error(err)
		}
	})
}
