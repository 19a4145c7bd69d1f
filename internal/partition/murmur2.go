// Package partition places keys on partitions exactly as Kafka's Java producer
// does, so that topics written by either side are co-partitioned.
//
// The Java producer's default partitioner takes the positive part of
// org.apache.kafka.common.utils.Utils.murmur2 of the serialized key, modulo the
// number of partitions. librdkafka's default (CRC32) differs; a producer built
// on it has to be set to "murmur2_random" or its keys land elsewhere.
package partition

import (
	"encoding/binary"
	"hash"
)

const (
	seed     = 0x9747b28c
	multiply = 0x5bd1e995
	rotate   = 24
)

// Murmur2 returns the 32-bit MurmurHash2 of key with Kafka's seed, bit for bit
// what Java's Utils.murmur2 returns. It is safe for concurrent use.
func Murmur2(key []byte) uint32 {
	h := uint32(seed) ^ uint32(len(key))
	for len(key) >= 4 {
		k := binary.LittleEndian.Uint32(key)
		k *= multiply
		k ^= k >> rotate
		k *= multiply
		h *= multiply
		h ^= k
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[0])
		h *= multiply
	}
	h ^= h >> 13
	h *= multiply
	h ^= h >> 15
	return h
}

// ForKey returns the partition, from 0 to partitions-1, on which Kafka's Java
// producer puts a record with this key in a topic of that many partitions. An
// empty key has a partition like any other; a record without a key has none by
// this rule. Where partitions is not positive there is no partition: -1.
func ForKey(key []byte, partitions int32) int32 {
	if partitions <= 0 {
		return -1
	}
	return Hash(key) % partitions
}

// Hash returns the positive part of Murmur2: modulo the number of partitions it is the key's partition.
func Hash(key []byte) int32 { return int32(Murmur2(key) & 0x7fffffff) }

// NewHasher returns a hash whose Sum32 is the positive part of Murmur2 over all
// that was written since the last Reset: a partitioner that takes Sum32 modulo
// the number of partitions agrees with ForKey. One goroutine at a time may use it.
func NewHasher() hash.Hash32 { return new(hasher) }

// hasher keeps the bytes, because murmur2 mixes the total length in first.
type hasher struct{ key []byte }

func (h *hasher) Write(p []byte) (int, error) {
	h.key = append(h.key, p...)
	return len(p), nil
}

func (h *hasher) Sum32() uint32 { return uint32(Hash(h.key)) }

func (h *hasher) Sum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, h.Sum32()) }

func (h *hasher) Reset() { h.key = h.key[:0] }

func (h *hasher) Size() int { return 4 }

func (h *hasher) BlockSize() int { return 4 }
