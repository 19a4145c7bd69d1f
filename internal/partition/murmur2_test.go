package partition

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestEqualToJava holds every line of testdata/vectors.txt, printed by
// testdata/Murmur2Vectors.java with kafka-clients 4.3.0.
func TestEqualToJava(t *testing.T) {
	f, err := os.Open("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := []int32{1, 3, 4, 12, 100}
	remainders := map[int]int{}
	lines := 0
	h := NewHasher()
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		fields := strings.Fields(s.Text())
		if len(fields) != 2+len(counts) {
			t.Fatalf("line %d: %q", lines+1, s.Text())
		}
		var key []byte
		if fields[0] != "-" {
			if key, err = hex.DecodeString(fields[0]); err != nil {
				t.Fatal(err)
			}
		}
		remainders[len(key)%4]++
		if got := strconv.FormatUint(uint64(Murmur2(key)), 10); got != fields[1] {
			t.Errorf("Murmur2(%x) = %s, Java has %s", key, got, fields[1])
		}
		h.Reset()
		for _, c := range key {
			h.Write([]byte{c})
		}
		for i, n := range counts {
			if got := fmt.Sprint(ForKey(key, n)); got != fields[2+i] {
				t.Errorf("ForKey(%x, %d) = %s, Java has %s", key, n, got, fields[2+i])
			}
			if got := fmt.Sprint(int32(h.Sum32()) % n); got != fields[2+i] {
				t.Errorf("hasher of %x modulo %d = %s, Java has %s", key, n, got, fields[2+i])
			}
		}
	}
	for r := range 4 {
		if remainders[r] < 10 {
			t.Errorf("only %d vectors of length %d mod 4", remainders[r], r)
		}
	}
}

func TestHasherIsAHash32(t *testing.T) {
	h := NewHasher()
	h.Write([]byte("foo"))
	h.Write([]byte("bar"))
	want := Murmur2([]byte("foobar")) & 0x7fffffff
	if got := h.Sum32(); got != want {
		t.Errorf("Sum32 = %d, want %d", got, want)
	}
	if got := fmt.Sprintf("%x", h.Sum([]byte{0xaa})); got != fmt.Sprintf("aa%08x", want) {
		t.Errorf("Sum = %s", got)
	}
	h.Reset()
	if got, want := h.Sum32(), Murmur2(nil)&0x7fffffff; got != want {
		t.Errorf("after Reset: %d, want %d", got, want)
	}
	if h.Size() != 4 || h.BlockSize() != 4 {
		t.Errorf("Size %d, BlockSize %d", h.Size(), h.BlockSize())
	}
}

func TestForKeyWithoutPartitions(t *testing.T) {
	for _, n := range []int32{0, -3} {
		if got := ForKey([]byte("k"), n); got != -1 {
			t.Errorf("ForKey(_, %d) = %d, want -1", n, got)
		}
	}
}

func ExampleForKey() {
	fmt.Println(ForKey([]byte("foobar"), 12))
	// Output: 6
}

func FuzzForKeyIsInRange(f *testing.F) {
	f.Add([]byte("foobar"), int32(7))
	f.Add([]byte{}, int32(1))
	f.Fuzz(func(t *testing.T, key []byte, n int32) {
		if p := ForKey(key, n); n > 0 && (p < 0 || p >= n) {
			t.Errorf("ForKey(%x, %d) = %d", key, n, p)
		}
	})
}
