package storetest

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/store"
)

// seedVariable repeats a random test: TIDEMILL_SEED=… go test -run …
const seedVariable = "TIDEMILL_SEED"

// newRandom returns a source of random numbers whose seed is printed when the test fails.
func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with %s=%d", seedVariable, seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// model is what an engine must hold: plain maps, sorted when a range is asked for.
type model struct {
	stores      map[string]map[string]string
	checkpoints map[string]store.Checkpoint
}

// rows returns the model's answer to a range in ascending order.
func (m *model) rows(name string, from, to []byte) []row {
	var all []row
	for key, value := range m.stores[name] {
		if key >= string(from) && (to == nil || key < string(to)) {
			all = append(all, row{key, value})
		}
	}
	slices.SortFunc(all, func(a, b row) int { return strings.Compare(a.key, b.key) })
	return all
}

// modelStores are few, with names that begin with one another.
var modelStores = []string{"a", "ab", "b", "\xff"}

// againstModel makes random changes to an engine and a model and compares what can be read. Restart, if not nil, is
// called now and then and returns the engine to go on with.
func againstModel(t *testing.T, engine store.Engine, restart func() store.Engine) {
	random := newRandom(t)
	m := &model{stores: map[string]map[string]string{}, checkpoints: map[string]store.Checkpoint{}}
	batch := store.NewBatch()
	for step := range 500 {
		switch choice := random.IntN(100); {
		case choice < 3:
			name := modelStores[random.IntN(len(modelStores))]
			if err := engine.DeleteStore(name, name+"-changelog"); err != nil {
				t.Fatalf("step %d: DeleteStore: %v", step, err)
			}
			delete(m.stores, name)
			delete(m.checkpoints, name+"-changelog")
		case choice < 6 && restart != nil:
			engine = restart()
		default:
			batch.Reset()
			m.randomBatch(random, batch)
			if err := engine.Apply(batch); err != nil {
				t.Fatalf("step %d: Apply: %v", step, err)
			}
		}
		m.compare(t, random, engine)
		if t.Failed() {
			t.Fatalf("engine and model part at step %d", step)
		}
	}
}

// randomKey returns short keys of few different bytes, so that the same ones come again.
func randomKey(random *rand.Rand) []byte {
	key := make([]byte, random.IntN(4))
	for i := range key {
		key[i] = []byte{0, 1, 'a', 'b', 0x7f, 0x80, 0xfe, 0xff}[random.IntN(8)]
	}
	return key
}

func (m *model) randomBatch(random *rand.Rand, batch *store.Batch) {
	for range random.IntN(30) {
		name := modelStores[random.IntN(len(modelStores))]
		if m.stores[name] == nil {
			m.stores[name] = map[string]string{}
		}
		key := randomKey(random)
		if random.IntN(3) == 0 {
			batch.Delete(name, key)
			delete(m.stores[name], string(key))
			continue
		}
		value := make([]byte, random.IntN(3)*random.IntN(2000))
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		batch.Put(name, key, value)
		m.stores[name][string(key)] = string(value)
	}
	if random.IntN(2) == 0 {
		checkpoint := checkpointOf(modelStores[random.IntN(len(modelStores))]+"-changelog", random.Int64())
		batch.SetCheckpoint(checkpoint)
		m.checkpoints[checkpoint.Changelog] = checkpoint
	}
}

func (m *model) compare(t *testing.T, random *rand.Rand, engine store.Engine) {
	t.Helper()
	for range 3 {
		name := modelStores[random.IntN(len(modelStores))]
		var from, to []byte
		if random.IntN(4) > 0 {
			from = randomKey(random)
		}
		if random.IntN(4) > 0 {
			to = randomKey(random)
		}
		wantRange(t, engine, name, from, to, m.rows(name, from, to)...)
		key := randomKey(random)
		if value, found := m.stores[name][string(key)]; found {
			wantValue(t, engine, name, string(key), value)
		} else {
			wantValue(t, engine, name, string(key), absent)
		}
	}
	if got := engine.Checkpoints(); !maps.Equal(got, m.checkpoints) {
		t.Errorf("checkpoints %+v, want %+v", got, m.checkpoints)
	}
}
