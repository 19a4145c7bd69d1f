package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/store"
)

// setExpiry reads the time from a value's last 8 bytes.
func setExpiry(value []byte) int64 {
	return int64(binary.BigEndian.Uint64(value[len(value)-8:]))
}

func withSets(t testing.TB, base store.Engine) store.Engine {
	t.Helper()
	engine, err := store.WithSets(base, map[string]store.Set{"ids": {Expiry: setExpiry}})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// TestSets holds a set against a map, through logs, segments and reopenings, with keys of any kind.
func TestSets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	engine := withSets(t, levelDBAt(t, dir))
	defer func() { _ = engine.Close() }()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	model, keys := map[string]string{}, []string(nil)
	batch := store.NewBatch()
	for round := range 60 {
		batch.Reset()
		for range random.IntN(4000) {
			var key string
			switch kind := random.IntN(10); {
			case kind == 0 && len(keys) > 0:
				key = keys[random.IntN(len(keys))]
			case kind == 1:
				key = fmt.Sprint("command-", len(keys))
			case kind == 2:
				key = string([]byte{byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))}[:random.IntN(4)])
			default:
				key = uuid.NewString()
			}
			value := binary.BigEndian.AppendUint64(fmt.Append(nil, random.IntN(1e6)), 1<<40)
			batch.Put("ids", []byte(key), value)
			model[key], keys = string(value), append(keys, key)
		}
		batch.Put("rows", []byte("round"), fmt.Append(nil, round))
		batch.SetCheckpoint(checkpoint(int64(round), 5))
		if err := engine.Apply(batch); err != nil {
			t.Fatal(err)
		}
		if round%7 == 6 {
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
			engine = withSets(t, levelDBAt(t, dir))
		}
		for range 500 {
			checkMember(t, engine, keys[random.IntN(len(keys))], model)
			checkMember(t, engine, uuid.NewString(), model)
			checkMember(t, engine, fmt.Sprint("command-", random.IntN(2*len(keys))), model)
		}
		if value, _, err := engine.Get("rows", []byte("round")); err != nil || string(value) != fmt.Sprint(round) {
			t.Fatalf("the other store has %s, %v in round %d", value, err, round)
		}
		if at, ok := engine.Checkpoint("changelog"); !ok || at.Offset != int64(round) {
			t.Fatalf("the checkpoint is %v in round %d", at, round)
		}
	}
	for key := range model {
		checkMember(t, engine, key, model)
	}
}

func checkMember(t *testing.T, engine store.Engine, key string, model map[string]string) {
	t.Helper()
	got, found, err := engine.Get("ids", []byte(key))
	want, known := model[key]
	if err != nil || found != known || string(got) != want {
		t.Fatalf("%q has %x, %v, %v; want %x, %v", key, got, found, err, want, known)
	}
}

func checkpoint(offset, streamTime int64) store.Checkpoint {
	return store.Checkpoint{Changelog: "changelog", Offset: offset, StreamTime: streamTime}
}

func putIDs(t testing.TB, engine store.Engine, from, n int, expires, streamTime int64) {
	t.Helper()
	batch := store.NewBatch()
	for i := from; i < from+n; i++ {
		batch.Put("ids", fmt.Appendf(nil, "id-%d", i), binary.BigEndian.AppendUint64(nil, uint64(expires)))
	}
	batch.SetCheckpoint(checkpoint(int64(from+n), streamTime))
	if err := engine.Apply(batch); err != nil {
		t.Fatal(err)
	}
}

// TestSetsExpire drops segments whose rows have all expired, from the base too.
func TestSetsExpire(t *testing.T) {
	base := store.NewMemory()
	engine := withSets(t, base)
	const n = 40_000 // more than a segment
	for i := range 10 {
		putIDs(t, engine, i*n, n, int64(i), int64(i-5))
	}
	for i := range 10 {
		_, found, err := engine.Get("ids", fmt.Appendf(nil, "id-%d", i*n))
		if want := i > 4; err != nil || found != want {
			t.Errorf("the rows that expire at %d are there: %v, %v; want %v", i, found, err, want)
		}
	}
	rows, bytes := 0, 0
	all := base.Range("ids", nil, nil, false)
	defer all.Close()
	for all.Next() {
		rows, bytes = rows+1, bytes+len(all.Value())
	}
	if rows > 5*700 || bytes > 5*n*30 {
		t.Errorf("5 segments take %d rows and %d bytes", rows, bytes)
	}
}

// TestSetsOfFewRows keeps the log short when rows come one by one.
func TestSetsOfFewRows(t *testing.T) {
	base := store.NewMemory()
	engine := withSets(t, base)
	for i := range 1000 {
		putIDs(t, engine, i, 1, 1<<40, 0)
	}
	rows := 0
	all := base.Range("ids", nil, nil, false)
	defer all.Close()
	for all.Next() {
		rows++
	}
	if rows > 60 {
		t.Errorf("1000 rows lie in %d of the base", rows)
	}
	again := withSets(t, base)
	for i := range 1000 {
		if _, found, err := again.Get("ids", fmt.Appendf(nil, "id-%d", i)); err != nil || !found {
			t.Fatalf("row %d: %v, %v", i, found, err)
		}
	}
}

// TestSetsAreNoTables refuses what a set cannot do, and begins anew after DeleteStore.
func TestSetsAreNoTables(t *testing.T) {
	engine := withSets(t, store.NewMemory())
	putIDs(t, engine, 0, 10, 1<<40, 0)
	batch := store.NewBatch()
	batch.Delete("ids", []byte("id-1"))
	if err := engine.Apply(batch); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("deleting a row: %v", err)
	}
	rows := engine.Range("ids", nil, nil, false)
	if rows.Next() || !errors.Is(rows.Close(), store.ErrInvalid) {
		t.Error("a set was iterated over")
	}
	if err := engine.DeleteStore("ids", "changelog"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := engine.Get("ids", []byte("id-1")); err != nil || found {
		t.Errorf("a row of a deleted set: %v, %v", found, err)
	}
	putIDs(t, engine, 20, 1, 1<<40, 0)
	if value, found, err := engine.Get("ids", []byte("id-20")); err != nil || !found || !bytes.Equal(value, binary.BigEndian.AppendUint64(nil, 1<<40)) {
		t.Errorf("a row after the deletion: %x, %v, %v", value, found, err)
	}
}

// TestSetsOfOtherRows does not believe rows that were written before there were sets, or damaged ones.
func TestSetsOfOtherRows(t *testing.T) {
	for name, row := range map[string]struct {
		key, value string
		want       error
	}{
		"a plain row":   {"c48e3f3c-7b0e-4be9-8a49-1f4b5b9a3d3f", "0123456789abcdef", store.ErrOlderFormat},
		"a later one":   {"\x00", "\x02", store.ErrNewerFormat},
		"no version":    {"\x00", "", store.ErrCorrupt},
		"a log's row":   {"\x01\x00\x00\x00\x00\x00\x00\x00\x01", "\x00abc", store.ErrCorrupt},
		"a short key":   {"\x01\x00", "", store.ErrCorrupt},
		"a cut segment": {"\x02\x00\x00\x00\x01", "\x20\x01\x00\x00", store.ErrCorrupt},
	} {
		base := store.NewMemory()
		batch := store.NewBatch()
		if row.key[0] != 0 && len(row.key) < 36 {
			batch.Put("ids", []byte{0}, []byte{1})
		}
		batch.Put("ids", []byte(row.key), []byte(row.value))
		if err := base.Apply(batch); err != nil {
			t.Fatal(err)
		}
		if _, err := store.WithSets(base, map[string]store.Set{"ids": {Expiry: setExpiry}}); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSetsAreWrittenWhole leaves nothing of a batch that could not be applied.
func TestSetsAreWrittenWhole(t *testing.T) {
	base := &failing{Engine: store.NewMemory()}
	engine := withSets(t, base)
	putIDs(t, engine, 0, 40_000, 1<<40, 0) // a segment
	putIDs(t, engine, 40_000, 10, 1<<40, 0)
	base.err = errors.New("no")
	for _, n := range []int{10, 40_000} {
		batch := store.NewBatch()
		for i := range n {
			batch.Put("ids", fmt.Appendf(nil, "other-%d", i), binary.BigEndian.AppendUint64(nil, 1))
		}
		if err := engine.Apply(batch); !errors.Is(err, base.err) {
			t.Fatal(err)
		}
		if _, found, err := engine.Get("ids", []byte("other-1")); found || err != nil {
			t.Errorf("a row that was not written is there: %v", err)
		}
	}
	for _, id := range []string{"id-1", "id-40001"} {
		if _, found, err := engine.Get("ids", []byte(id)); !found || err != nil {
			t.Errorf("%s: %v, %v", id, found, err)
		}
	}
}

type failing struct {
	store.Engine
	err error
}

func (f *failing) Apply(batch *store.Batch) error {
	if f.err != nil {
		return f.err
	}
	return f.Engine.Apply(batch)
}

// BenchmarkSets puts a row and looks for another, as a new command does; "plain" is a store that is no set.
func BenchmarkSets(b *testing.B) {
	for _, name := range []string{"set", "plain"} {
		b.Run(name, func(b *testing.B) {
			engine := levelDBAt(b, filepath.Join(b.TempDir(), "store"))
			if name == "set" {
				engine = withSets(b, engine)
			}
			defer func() { _ = engine.Close() }()
			batch := store.NewBatch()
			random := rand.New(rand.NewPCG(1, 2))
			var raw uuid.UUID
			value := binary.BigEndian.AppendUint64(make([]byte, 8), 1<<40)
			b.ReportAllocs()
			began := costtest.ProcessorTime(b)
			for n := 0; n < b.N; {
				batch.Reset()
				for i := 0; i < 500 && n < b.N; i++ {
					binary.LittleEndian.PutUint64(raw[:], random.Uint64())
					binary.LittleEndian.PutUint64(raw[8:], random.Uint64())
					var text [36]byte
					copy(text[:], raw.String())
					if name == "set" {
						if _, found, err := engine.Get("ids", text[:]); found || err != nil {
							b.Fatal(found, err)
						}
					}
					batch.Put("ids", text[:], value)
					n++
				}
				if err := engine.Apply(batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(costtest.ProcessorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

func levelDBAt(t testing.TB, dir string) store.Engine {
	t.Helper()
	engine, err := openLevelDB(dir)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}
