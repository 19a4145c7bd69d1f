package main

import (
	"hash"
)

// murmur2 is the hash of Kafka's own partitioner, as a hash.Hash32 for goka.
type murmur2 struct{ data []byte }

func newMurmur2() hash.Hash32 { return &murmur2{} }

// Write implements hash.Hash32.
func (m *murmur2) Write(p []byte) (int, error) {
	m.data = append(m.data, p...)
	return len(p), nil
}

// Sum implements hash.Hash32.
func (m *murmur2) Sum(b []byte) []byte {
	h := m.Sum32()
	return append(b, byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
}

// Reset implements hash.Hash32.
func (m *murmur2) Reset() { m.data = m.data[:0] }

// Size implements hash.Hash32.
func (m *murmur2) Size() int { return 4 }

// BlockSize implements hash.Hash32.
func (m *murmur2) BlockSize() int { return 4 }

// Sum32 implements hash.Hash32. The sign bit is cleared, as Kafka's toPositive does.
func (m *murmur2) Sum32() uint32 {
	const multiplier, seed = 0x5bd1e995, 0x9747b28c
	data := m.data
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= multiplier
		k ^= k >> 24
		k *= multiplier
		h = h*multiplier ^ k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= multiplier
	}
	h ^= h >> 13
	h *= multiplier
	h ^= h >> 15
	return h & 0x7fffffff
}
