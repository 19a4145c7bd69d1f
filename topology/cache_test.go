package topology

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestCacheIsBounded keeps what is used and forgets what is not, within its bytes.
func TestCacheIsBounded(t *testing.T) {
	const limit = 4096
	c := newCache[int](limit)
	hot := []byte("hot")
	c.put(hot, -1, 2)
	for i := range 1000 {
		c.put(fmt.Append(nil, i), i, 3)
		if n := c.young.bytes() + c.old.bytes(); n > limit+1024 { // the last row, and a table of twice the size
			t.Fatalf("after %d rows the cache holds %d bytes", i, n)
		}
		if value, ok := c.get(hot); !ok || value != -1 {
			t.Fatalf("after %d rows the row in use is %d, %v", i, value, ok)
		}
	}
	if _, ok := c.get([]byte("0")); ok {
		t.Error("the oldest row is still there")
	}
	c.put(hot, -2, 2)
	if value, _ := c.get(hot); value != -2 {
		t.Errorf("got %d", value)
	}
	c.remove(hot)
	if _, ok := c.get(hot); ok {
		t.Error("a removed row is there")
	}
	c.evict()
	if _, ok := c.get([]byte("99")); ok {
		t.Error("an evicted row is there")
	}
}

// TestCacheCountsTexts bounds what values refer to as well.
func TestCacheCountsTexts(t *testing.T) {
	c := newCache[string](64 << 10)
	text := strings.Repeat("x", 1000)
	for i := range 1000 {
		c.put(fmt.Append(nil, i), text, len(text))
		c.get(fmt.Append(nil, i-20)) // carried over
	}
	if n := c.len(); n > 64 {
		t.Errorf("%d rows of 1000 bytes in 64 KiB", n)
	}
}

// TestCacheHoldsARound never misses while the rows in use fit into half of it, even if they are used in turns.
func TestCacheHoldsARound(t *testing.T) {
	c := newCache[int](1 << 20)
	for round := range 5 {
		for i := range 5000 {
			key := fmt.Appendf(nil, "key-%06d", i)
			if value, ok := c.get(key); ok != (round > 0) || ok && value != i+round-1 {
				t.Fatalf("round %d, key %d: got %d, %v", round, i, value, ok)
			}
			c.put(key, i+round, 0)
		}
	}
}

// TestCacheIsTrue never gives a value but the one put last, and none that was removed.
func TestCacheIsTrue(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	c, model := newCache[int](8192), map[string]int{}
	for i := range 100_000 {
		key := fmt.Sprint(random.IntN(300))
		switch random.IntN(10) {
		case 0:
			c.remove([]byte(key))
			delete(model, key)
		case 1, 2, 3:
			c.put([]byte(key), i, 0)
			model[key] = i
		case 4:
			if random.IntN(1000) == 0 {
				c.evict()
			}
		default:
			want, there := model[key]
			if got, ok := c.get([]byte(key)); ok && (!there || got != want) {
				t.Fatalf("seed %d, step %d: key %s is %d in the cache; want %d, %v", seed, i, key, got, want, there)
			}
		}
	}
}

// TestCacheOfSharedValues keeps nothing that a function could change in place.
func TestCacheOfSharedValues(t *testing.T) {
	if newCache[struct {
		A string
		B [2]time.Time
	}](1) == nil {
		t.Error("a flat value is not kept")
	}
	if newCache[[]int](1) != nil || newCache[struct{ A *int }](1) != nil || newCache[map[string]int](1) != nil || newCache[any](1) != nil {
		t.Error("a value that shares memory is kept")
	}
	var none *cache[[]int]
	none.put([]byte("a"), nil, 0)
	none.remove([]byte("a"))
	none.evict()
	if _, ok := none.get([]byte("a")); ok {
		t.Error("no cache has rows")
	}
}
