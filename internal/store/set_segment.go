package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// segment is a part of a set that is not changed any more: pages of entries by the leading bits of their hashes, and a
// filter, which is in memory.
type segment struct {
	number   uint32
	entries  int
	pageBits uint8
	expiry   int64 // of its last entry
	filter   idFilter

	made *pages // until it is written
}

// pages are the entries of a segment before they are on its pages.
type pages struct {
	data    []byte
	entries []pagedEntry // in the order of data
	sizes   []int        // of the pages
}

// pagedEntry is an entry on its way into a page. It ends where the next one begins.
type pagedEntry struct{ page, begin uint32 }

// pageEntries is at most how many entries a page has, about: one is read for a row that is there, or seems to be.
const pageEntries = 128

// newSegment makes a segment of the entries in recent and of so many added. Of a key that is there twice the newer entry
// comes first in its page.
func newSegment(number uint32, old *recent, added []byte, count int, expiry func(value []byte) int64) *segment {
	n := old.count + count
	s := &segment{number: number, entries: n, pageBits: uint8(bits.Len(uint(n / pageEntries))), filter: newFilter(n)}
	s.made = &pages{data: added, entries: make([]pagedEntry, 0, n), sizes: make([]int, 1<<s.pageBits)}
	if old.count > 0 {
		all := make([]byte, 0, len(old.data)+len(added))
		old.each(func(entry, _, _ []byte) { all = append(all, entry...) })
		s.made.data = append(all, added...)
	}
	eachEntry(s.made.data, func(begin int, entry, packed, value []byte) {
		hash := xxhash.Sum64(packed)
		s.filter.add(hash)
		s.expiry = max(s.expiry, expiry(value))
		page := s.page(hash)
		s.made.entries = append(s.made.entries, pagedEntry{page, uint32(begin)})
		s.made.sizes[page] += len(entry)
	})
	return s
}

// page returns the number of the page on which entries of a hash are.
func (s *segment) page(hash uint64) uint32 { return uint32(hash >> (64 - s.pageBits)) }

func (s *segment) pageKey(dst []byte, page uint32) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, setPage), s.number)
	return binary.BigEndian.AppendUint32(dst, page)
}

// pageKeyBytes is the length of a page's key.
const pageKeyBytes = 1 + 4 + 4

func (s *segment) key() []byte { return binary.BigEndian.AppendUint32([]byte{setSegment}, s.number) }

// write adds the segment's rows to a batch, once.
func (s *segment) write(batch *Batch, store string) {
	header, made := s.header(), s.made
	s.made = nil
	batch.Grow(len(header)+len(made.data)+(len(made.sizes)+1)*pageKeyBytes, len(made.sizes)+1)
	batch.Put(store, s.key(), header)
	next := make([]int, len(made.sizes)) // where the next entry of each page goes, in the batch
	var key []byte
	for page, size := range made.sizes {
		if size > 0 {
			key = s.pageKey(key[:0], uint32(page))
			next[page] = batch.putRoom(store, key, size)
		}
	}
	end := len(made.data)
	for i := len(made.entries) - 1; i >= 0; i-- {
		entry := made.entries[i]
		next[entry.page] += copy(batch.data[next[entry.page]:], made.data[entry.begin:end])
		end = int(entry.begin)
	}
}

// header returns what decodeSegment reads.
func (s *segment) header() []byte {
	const before = binary.MaxVarintLen64 + 1 + 8
	header := binary.AppendUvarint(make([]byte, 0, before+4*len(s.filter)), uint64(s.entries))
	header = append(header, s.pageBits)
	header = binary.BigEndian.AppendUint64(header, uint64(s.expiry))
	for _, word := range s.filter {
		header = binary.LittleEndian.AppendUint32(header, word)
	}
	return header
}

// remove adds the removal of the segment's rows to a batch.
func (s *segment) remove(batch *Batch, store string) {
	batch.Delete(store, s.key())
	var key []byte
	for page := range uint32(1) << s.pageBits {
		key = s.pageKey(key[:0], page)
		batch.Delete(store, key)
	}
}

// decodeSegment reads a header.
func decodeSegment(number uint32, header []byte) (*segment, error) {
	n, m := binary.Uvarint(header)
	if m <= 0 || len(header) < m+9 || header[m] > 32 || n > 1<<32 {
		return nil, fmt.Errorf("%w: the header of segment %d of a set", ErrCorrupt, number)
	}
	s := &segment{number: number, entries: int(n), pageBits: header[m], expiry: int64(binary.BigEndian.Uint64(header[m+1:]))}
	words := header[m+9:]
	if filterWords(s.entries) != len(words)/4 || len(words)%4 != 0 { // before there is memory for what it claims
		return nil, fmt.Errorf("%w: the filter of segment %d of a set has %d bytes for %d entries", ErrCorrupt, number, len(words), s.entries)
	}
	s.filter = newFilter(s.entries)
	for i := range s.filter {
		s.filter[i] = binary.LittleEndian.Uint32(words[4*i:])
	}
	return s, nil
}

// idFilter is a split block Bloom filter as in Apache Parquet, with 16 bits an entry: it tells that something was surely not
// added, wrong in about one of 700 cases, at the cost of one look at memory.
type idFilter []uint32

const (
	filterBlock = 8 // words
	filterBits  = 16
)

// filterSalts choose a bit in each word of a block (the constants of the Parquet format).
var filterSalts = [filterBlock]uint32{
	0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31,
}

func newFilter(entries int) idFilter { return make(idFilter, filterWords(entries)) }

// filterWords is the size of the filter for so many entries.
func filterWords(entries int) int {
	const perBlock = 32 * filterBlock / filterBits
	return max(1, (entries+perBlock-1)/perBlock) * filterBlock
}

func (f idFilter) block(hash uint64) []uint32 {
	blocks := uint64(len(f) / filterBlock)
	at := (hash >> 32) * blocks >> 32 * filterBlock
	return f[at : at+filterBlock : at+filterBlock]
}

func (f idFilter) add(hash uint64) {
	block := f.block(hash)
	for i, salt := range filterSalts {
		block[i] |= 1 << (uint32(hash) * salt >> 27)
	}
}

// has reports false only for what was not added.
func (f idFilter) has(hash uint64) bool {
	block := f.block(hash)
	for i, salt := range filterSalts {
		if block[i]&(1<<(uint32(hash)*salt>>27)) == 0 {
			return false
		}
	}
	return true
}
