package topology

import (
	"fmt"
	"testing"
	"time"
)

// TestCacheIsBounded keeps what is used and forgets what is not, at most twice its limit.
func TestCacheIsBounded(t *testing.T) {
	const limit = 8
	c := newCache[int](limit)
	hot := []byte("hot")
	c.put(hot, -1)
	for i := range 100 {
		c.put(fmt.Append(nil, i), i)
		if n := len(c.young) + len(c.old); n > 2*limit {
			t.Fatalf("after %d rows the cache holds %d", i, n)
		}
		if value, ok := c.get(hot); !ok || value != -1 {
			t.Fatalf("after %d rows the row in use is %d, %v", i, value, ok)
		}
	}
	if _, ok := c.get([]byte("0")); ok {
		t.Error("the oldest row is still there")
	}
	c.put(hot, -2)
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
	none.put([]byte("a"), nil)
	none.remove([]byte("a"))
	none.evict()
	if _, ok := none.get([]byte("a")); ok {
		t.Error("no cache has rows")
	}
}
