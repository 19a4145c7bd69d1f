package store

import (
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/cache"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// The defaults of Options, chosen by BenchmarkWorkload for several engines in a process that has 150 MB to live in.
// Buffers of 512 KiB cost a fifth more processor time, and those above 1 MiB save nothing but take memory; a larger
// cache helps only where it holds a good part of the rows, and then is best shared.
const (
	DefaultWriteBuffer = 1 << 20 // bytes
	DefaultCacheBytes  = 1 << 20 // bytes, of the cache an engine has of its own
	DefaultOpenFiles   = 64      // sorted files
	DefaultBloomBits   = 10      // bits a key
	DefaultMergeFiles  = 4       // sorted files
)

// Compression selects how the blocks of the files are compressed. Files written with another choice stay readable.
type Compression uint8

const (
	// CompressionNone is the default: it spares the processor a tenth of what a row read from a file costs.
	CompressionNone Compression = iota
	// CompressionSnappy about halves JSON, on disk and so in the page cache.
	CompressionSnappy
)

// blockSize is that of the files' blocks. LevelDB lends out memory for blocks by size, in five sizes up to four times this one.
// What is larger gets whatever was given back, among it buffers as large as a file (2 MiB, goleveldb's pull request 410):
// an index or a filter of 20 KB would occupy the cache with that, which then holds four of them. With blocks of 16 KiB both
// are smaller than 64 KiB as a rule.
const blockSize = 16 << 10

// firstLevelMerges is how many merges of flushed files the first level holds.
const firstLevelMerges = 2

// Options tunes an engine. The zero value means the defaults.
type Options struct {
	// WriteBuffer is how many bytes of rows are held in memory before they are written to a sorted file. The
	// engine holds up to two buffers and reserves the memory at once. 0 means DefaultWriteBuffer. Once the sorted files
	// have 64 MiB, the buffer has at least 4 MiB.
	WriteBuffer int
	// MergeFiles is how many write buffers' files are merged at once. More of them mean fewer merges, and that a row that is read may be
	// looked for in more files. 0 means DefaultMergeFiles.
	MergeFiles int
	// Cache holds blocks read from the files, for all engines that are given the same one. Nil means a cache of
	// the engine's own, of DefaultCacheBytes.
	Cache *Cache
	// OpenFiles bounds the sorted files, of about 2 MB each, kept open. 0 means DefaultOpenFiles.
	OpenFiles int
	// BloomBits is the size of the filters that spare the look-up of absent keys in a file, in bits a key. 0
	// means DefaultBloomBits (1 % false positives), a negative number no filters.
	BloomBits int
	// Compression of the files written from now on.
	Compression Compression
	// Sync makes every Apply wait until the batch is on the disk itself. It is off by default because the
	// changelog is the source of truth: the operating system keeps what was written when the process is killed,
	// and when the machine loses power the engine comes back at an earlier checkpoint, from which the changelog
	// is read again. Sorted files and the list of them are always synchronised.
	Sync bool

	largeStore int64 // bytes from which a store is large, for tests; 0 means largeStore
}

// Cache is a cache of blocks to share among engines. It is safe for concurrent use and needs no closing: an engine
// takes its blocks out when it is closed.
type Cache struct{ lru cache.Cacher }

// NewCache returns a cache that holds up to the given number of bytes, beyond which the least recently used blocks
// are dropped.
func NewCache(bytes int) *Cache { return &Cache{lru: cache.NewLRU(max(bytes, 0))} }

// withDefaults fills in what is left open and refuses what is out of range.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.WriteBuffer < 0 || o.WriteBuffer > 1<<30:
		return o, fmt.Errorf("%w: a write buffer of %d bytes; from 1 to 1 GiB are possible", ErrInvalid, o.WriteBuffer)
	case o.MergeFiles < 0 || o.MergeFiles > 64:
		return o, fmt.Errorf("%w: %d files to merge at once; from 1 to 64 are possible", ErrInvalid, o.MergeFiles)
	case o.OpenFiles < 0:
		return o, fmt.Errorf("%w: %d open files; at least 1 is needed", ErrInvalid, o.OpenFiles)
	case o.BloomBits > 64:
		return o, fmt.Errorf("%w: bloom filters of %d bits a key; more than 64 are of no use", ErrInvalid, o.BloomBits)
	case o.Compression > CompressionSnappy:
		return o, fmt.Errorf("%w: unknown compression %d", ErrInvalid, o.Compression)
	}
	if o.WriteBuffer == 0 {
		o.WriteBuffer = DefaultWriteBuffer
	}
	if o.Cache == nil {
		o.Cache = NewCache(DefaultCacheBytes)
	}
	if o.MergeFiles == 0 {
		o.MergeFiles = DefaultMergeFiles
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = DefaultOpenFiles
	}
	if o.BloomBits == 0 {
		o.BloomBits = DefaultBloomBits
	}
	return o, nil
}

// leveldb translates the options. What is not offered as a choice is set for a reason.
func (o Options) leveldb() *opt.Options {
	options := &opt.Options{
		WriteBuffer:            o.WriteBuffer,
		BlockCacher:            opt.PassthroughCacher(o.Cache.lru),
		BlockCacheEvictRemoved: true,
		OpenFilesCacheCapacity: o.OpenFiles,
		CompactionL0Trigger:    o.MergeFiles,
		WriteL0SlowdownTrigger: 2 * o.MergeFiles,
		WriteL0PauseTrigger:    3 * o.MergeFiles,
		// What is merged into the first level is to be no small part of it, or the level is written again for little.
		CompactionTotalSize: max(opt.DefaultCompactionTotalSize, firstLevelMerges*o.MergeFiles*o.WriteBuffer),
		BlockSize:           blockSize,
		Compression:         opt.NoCompression,
		// Reads must not start compactions: a seek costs nothing on the disks of today.
		DisableSeeksCompaction: true,
		// A batch larger than the buffer would bypass the journal and wait for the disk. Kept in the journal,
		// every batch has its place in one sequence, which opening relies on (see guard).
		DisableLargeBatchTransaction: true,
		NoWriteMerge:                 true, // one writer: nothing to merge with
		MaxManifestFileSize:          1 << 20,
		// Damage of any kind is an error. LevelDB's own default skips damaged blocks of a journal and goes on
		// with later ones: rows would be missing below the checkpoint.
		Strict: opt.StrictManifest | opt.StrictJournalChecksum | opt.StrictJournal | opt.StrictBlockChecksum |
			opt.StrictCompaction | opt.StrictReader,
	}
	if o.Compression == CompressionSnappy {
		options.Compression = opt.SnappyCompression
	}
	if o.BloomBits > 0 {
		options.Filter = bloom(o.BloomBits)
		options.AltFilters = []filter.Filter{filter.NewBloomFilter(o.BloomBits)} // of files that earlier versions have written
	}
	return options
}
