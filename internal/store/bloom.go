package store

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
	"github.com/syndtr/goleveldb/leveldb/filter"
)

// bloom is the Bloom filter of sorted files, of so many bits a key: LevelDB's own (the bits of a key are a sequence by double hashing,
// Kirsch and Mitzenmacher, 2006), but over another hash. Each merge makes the filters anew, and LevelDB's hash takes four bytes a step,
// which for long keys is an eighth of a merge.
type bloom int

const (
	bloomName     = "tidemill.bloom.xxh64"
	leastBloom    = 64 // bits
	mostBloomBits = 30 // of a key
)

// Name implements filter.Filter. It is written into the files.
func (bloom) Name() string { return bloomName }

// NewGenerator implements filter.Filter.
func (b bloom) NewGenerator() filter.FilterGenerator {
	// ln 2 of the bits a key are the best number of them to set, rounded down.
	return &bloomGenerator{perKey: int(b), set: byte(min(max(int(b)*69/100, 1), mostBloomBits))}
}

// Contains implements filter.Filter. A filter ends with the number of bits that were set for a key.
func (bloom) Contains(filter, key []byte) bool {
	last := len(filter) - 1
	if last < 1 {
		return false
	}
	set := filter[last]
	if set > mostBloomBits {
		return true // not written by this version
	}
	hash := bloomHash(key)
	step := bits.RotateLeft32(hash, 15)
	for range set {
		if bit := hash % uint32(8*last); filter[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
		hash += step
	}
	return true
}

func bloomHash(key []byte) uint32 {
	sum := xxhash.Sum64(key)
	return uint32(sum) ^ uint32(sum>>32)
}

// bloomGenerator collects the keys of one file.
type bloomGenerator struct {
	perKey int
	set    byte
	hashes []uint32
}

// Add implements filter.FilterGenerator.
func (g *bloomGenerator) Add(key []byte) { g.hashes = append(g.hashes, bloomHash(key)) }

// Generate implements filter.FilterGenerator.
func (g *bloomGenerator) Generate(b filter.Buffer) {
	size := (max(len(g.hashes)*g.perKey, leastBloom) + 7) / 8
	filter := b.Alloc(size + 1)
	clear(filter) // the memory may have been in use
	filter[size] = g.set
	for _, hash := range g.hashes {
		step := bits.RotateLeft32(hash, 15)
		for range g.set {
			bit := hash % uint32(8*size)
			filter[bit/8] |= 1 << (bit % 8)
			hash += step
		}
	}
	g.hashes = g.hashes[:0]
}
