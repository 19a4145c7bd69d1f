package topology

import "github.com/cespare/xxhash/v2"

// idFilter tells that an id was surely never added, so that the usual case, a new command, needs no look into the store: a
// Bloom filter that grows by doubling (Almeida et al., "Scalable Bloom Filters", 2007). It holds about ten bits an id, with
// under 2 % false positives, which cost a look and nothing else.
type idFilter struct {
	layers []bloom
	ids    int
}

// bloom is one layer: bits for up to capacity ids.
type bloom struct {
	bits     []uint64
	ids      int
	capacity int
}

const (
	// firstLayer is how many ids the first layer holds: 10 KiB.
	firstLayer = 8 << 10
	bitsPerID  = 10
	probes     = 6
)

func (f *idFilter) add(id []byte) {
	if n := len(f.layers); n == 0 || f.layers[n-1].ids == f.layers[n-1].capacity {
		capacity := firstLayer << min(n, 12)
		f.layers = append(f.layers, bloom{bits: make([]uint64, capacity*bitsPerID/64), capacity: capacity})
	}
	layer := &f.layers[len(f.layers)-1]
	layer.ids++
	f.ids++
	hash, step := split(xxhash.Sum64(id))
	for range probes {
		layer.bits[hash/64%uint64(len(layer.bits))] |= 1 << (hash % 64)
		hash += step
	}
}

// has reports false only for an id that was not added.
func (f *idFilter) has(id []byte) bool {
	hash, step := split(xxhash.Sum64(id))
	for i := range f.layers {
		if f.layers[i].has(hash, step) {
			return true
		}
	}
	return false
}

func (b *bloom) has(hash, step uint64) bool {
	for range probes {
		if b.bits[hash/64%uint64(len(b.bits))]&(1<<(hash%64)) == 0 {
			return false
		}
		hash += step
	}
	return true
}

// split derives the two hashes of double hashing (Kirsch and Mitzenmacher, 2006). The step is odd, so that probes differ.
func split(hash uint64) (first, step uint64) { return hash, (hash>>32 | hash<<32) | 1 }

func (f *idFilter) reset() { *f = idFilter{} }
