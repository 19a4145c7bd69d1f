package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/tidemill/tidemill/internal/costtest"
)

const benchmarkKeys = 100_000

// benchmarkRows returns keys like UUIDs and values like JSON of about 110 bytes.
var benchmarkRows = sync.OnceValues(func() (keys, values [][]byte) {
	for n := range 2 * benchmarkKeys {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(n)*2654435761, n)
		keys = append(keys, []byte(id))
		values = append(values, fmt.Appendf(nil, `{"value-id":"%s","value":%d.5,"version":%d,"at":17950000%05d}`, id, n, n*7, n%99999))
	}
	return keys, values
})

func openBenchmark(b *testing.B, options Options) Engine {
	b.Helper()
	engine, err := OpenLevelDB(filepath.Join(b.TempDir(), "store"), options)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close() })
	return engine
}

// BenchmarkApply applies batches of puts on 100,000 keys; a put is the unit. "raw" is LevelDB itself, its batch built
// and written in the same way.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 500, 5000} {
		b.Run(fmt.Sprintf("engine/batch=%d", size), func(b *testing.B) {
			engine := openBenchmark(b, Options{})
			benchmarkApply(b, engine, size)
		})
		b.Run(fmt.Sprintf("raw/batch=%d", size), func(b *testing.B) {
			options, err := Options{}.withDefaults()
			if err != nil {
				b.Fatal(err)
			}
			db, err := leveldb.OpenFile(b.TempDir(), options.leveldb())
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			random := rand.New(rand.NewPCG(1, 2))
			var batch leveldb.Batch
			keys, values := benchmarkRows()
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				batch.Reset()
				for range size {
					batch.Put(keys[random.IntN(benchmarkKeys)], values[random.IntN(benchmarkKeys)])
				}
				if err := db.Write(&batch, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("memory/batch=%d", size), func(b *testing.B) { benchmarkApply(b, NewMemory(), size) })
	}
}

func benchmarkApply(b *testing.B, engine Engine, size int) {
	random := rand.New(rand.NewPCG(1, 2))
	batch := NewBatch()
	keys, values := benchmarkRows()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += size {
		batch.Reset()
		for range size {
			batch.Put("values", keys[random.IntN(benchmarkKeys)], values[random.IntN(benchmarkKeys)])
		}
		batch.SetCheckpoint(Checkpoint{Changelog: "calculator-values-changelog", Offset: int64(n)})
		if err := engine.Apply(batch); err != nil {
			b.Fatal(err)
		}
	}
}

// fillBenchmark writes every key once, in random order.
func fillBenchmark(b *testing.B, engine Engine) {
	b.Helper()
	batch := NewBatch()
	keys, values := benchmarkRows()
	for i, n := range rand.New(rand.NewPCG(3, 4)).Perm(benchmarkKeys) {
		batch.Put("values", keys[n], values[n])
		if i%5000 == 4999 {
			if err := engine.Apply(batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
}

// BenchmarkGet reads random keys of 100,000, there and not there.
func BenchmarkGet(b *testing.B) {
	for _, present := range []bool{true, false} {
		offset := 0
		if !present {
			offset = benchmarkKeys
		}
		keys := make([][]byte, 10_000)
		random := rand.New(rand.NewPCG(5, 6))
		all, _ := benchmarkRows()
		for i := range keys {
			keys[i] = all[random.IntN(benchmarkKeys)+offset]
		}
		read := func(b *testing.B, get func(key []byte) (found bool, err error)) {
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				if found, err := get(keys[n%len(keys)]); err != nil || found != present {
					b.Fatal(found, err)
				}
			}
		}
		engine := openBenchmark(b, Options{})
		fillBenchmark(b, engine)
		b.Run(fmt.Sprintf("engine/present=%v", present), func(b *testing.B) {
			read(b, func(key []byte) (bool, error) { _, found, err := engine.Get("values", key); return found, err })
		})
		b.Run(fmt.Sprintf("raw/present=%v", present), func(b *testing.B) {
			buffer := make([]byte, 0, 100)
			read(b, func(key []byte) (bool, error) {
				_, err := engine.(*levelDB).db.Get(append(append(buffer, 1), key...), nil)
				if err == leveldb.ErrNotFound {
					return false, nil
				}
				return err == nil, err
			})
		})
		memory := NewMemory()
		fillBenchmark(b, memory)
		b.Run(fmt.Sprintf("memory/present=%v", present), func(b *testing.B) {
			read(b, func(key []byte) (bool, error) { _, found, err := memory.Get("values", key); return found, err })
		})
	}
}

// BenchmarkRange iterates over rows; a row is the unit.
func BenchmarkRange(b *testing.B) {
	engine := openBenchmark(b, Options{})
	fillBenchmark(b, engine)
	for _, length := range []int{1, 100, benchmarkKeys} {
		b.Run(fmt.Sprintf("rows=%d", length), func(b *testing.B) {
			b.ReportAllocs()
			var from [9]byte
			for n := 0; n < b.N; {
				copy(from[:], fmt.Sprintf("%08x", n%200*(1<<23)))
				start := from[:8]
				if length == benchmarkKeys {
					start = nil
				}
				rows := engine.Range("values", start, nil, false)
				for i := 0; i < length && rows.Next(); i++ {
					n++
				}
				if err := rows.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWorkload runs a processor's work on four engines of one process, to choose the defaults by: 250,000
// records each on 25,000 keys of its own, a Get of each key, the puts applied in batches of 500. It reports the
// processor time of a record and the memory the engines hold at the end.
func BenchmarkWorkload(b *testing.B) {
	choices := map[string]Options{
		"as-it-comes":      {},
		"buffer=256K":      {WriteBuffer: 256 << 10},
		"buffer=512K":      {WriteBuffer: 512 << 10},
		"buffer=1M":        {WriteBuffer: 1 << 20},
		"buffer=2M":        {WriteBuffer: 2 << 20},
		"buffer=4M":        {WriteBuffer: 4 << 20},
		"snappy":           {Compression: CompressionSnappy},
		"no-filters":       {BloomBits: -1},
		"no-cache":         {Cache: NewCache(0)},
		"shared-cache=4M":  {Cache: NewCache(4 << 20)},
		"shared-cache=16M": {Cache: NewCache(16 << 20)},
		"sync":             {Sync: true},
	}
	for _, name := range slices.Sorted(maps.Keys(choices)) {
		for _, reads := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/reads=%v", name, reads), func(b *testing.B) {
				for range b.N {
					workload(b, choices[name], reads)
				}
			})
		}
	}
}

// BenchmarkCreate looks for rows that are not there and then puts them, 500 at a time, in a store that grows: what
// creating costs where there are millions (BENCHTIME=1000000x). The row is the unit.
func BenchmarkCreate(b *testing.B) {
	for _, filter := range []bool{true, false} {
		b.Run(fmt.Sprintf("filter=%v", filter), func(b *testing.B) {
			const size = 500
			engine := openBenchmark(b, Options{})
			if filter {
				engine = WithPresence(engine, 16<<20)
			}
			batch, key := NewBatch(), make([]byte, 0, 200)
			b.ResetTimer()
			cpu := costtest.ProcessorTime(b)
			for n := 0; n < b.N; n++ {
				key = fmt.Appendf(key[:0], "%08x-0000-4000-8000-%0120x", uint32(n)*2654435761, n)
				if _, found, err := engine.Get("values", key); found || err != nil {
					b.Fatal(found, err)
				}
				if batch.Put("values", key, []byte(`{"value":1234567.5}`)); batch.Len() < size && n < b.N-1 {
					continue
				}
				if err := engine.Apply(batch); err != nil {
					b.Fatal(err)
				}
				batch.Reset()
			}
			b.ReportMetric(float64(costtest.ProcessorTime(b)-cpu)/float64(b.N), "cpu-ns/row")
		})
	}
}

func workload(b *testing.B, options Options, reads bool) {
	const partitions, records, size = 4, 250_000, 500
	keys, values := benchmarkRows()
	memory := heap()
	var engines [partitions]Engine
	for i := range engines {
		engines[i] = openBenchmark(b, options)
	}
	random := rand.New(rand.NewPCG(7, 8))
	batch := NewBatch()
	b.ResetTimer()
	cpu := costtest.ProcessorTime(b)
	for n := 0; n < records; n += size {
		for i, engine := range engines {
			batch.Reset()
			for range size {
				k := random.IntN(benchmarkKeys/partitions)*partitions + i
				if reads {
					if _, _, err := engine.Get("values", keys[k]); err != nil {
						b.Fatal(err)
					}
				}
				batch.Put("values", keys[k], values[random.IntN(benchmarkKeys)])
			}
			if err := engine.Apply(batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(costtest.ProcessorTime(b)-cpu)/(partitions*records), "cpu-ns/record")
	b.ReportMetric(float64(heap()-memory)/(1<<20), "MB")
	for _, engine := range engines {
		if err := engine.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// heap returns the bytes of live memory.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
