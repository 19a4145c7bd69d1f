package codecs

import "math/bits"

// plainLength returns how many bytes text starts with that stand for themselves in a JSON string: ASCII from space on,
// but neither quote nor backslash. It looks at eight bytes at once, since strings are most of a message
// (H. S. Warren, Hacker's Delight, section 6-1: finding a byte of a word).
func plainLength[T ~string | ~[]byte](text T) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(text); i += 8 {
		word := load(text[i : i+8])
		quote := word ^ ones*'"'
		backslash := word ^ ones*'\\'
		// A byte's high bit is set where the byte is special, or above a borrow from one that is: so the lowest is right.
		special := (word - ones*' ') | (quote - ones) | (backslash - ones) | word
		if special &= highs; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			break
		}
	}
	return i
}

// load reads eight bytes, the first lowest; the compiler makes one instruction of it.
func load[T ~string | ~[]byte](text T) uint64 {
	_ = text[7]
	return uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
		uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
}
