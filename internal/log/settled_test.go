package log

import "testing"

// A group's partition is that of the absolute value of Java's String.hashCode: 96354 for "abc", negative for "calculator", the
// least integer, which has none, for "polygenelubricants".
func TestGroupPartition(t *testing.T) {
	for group, want := range map[string]int32{"": 0, "abc": 4, "polygenelubricants": 0, "calculator": 34, "ordering-queries": 7, "tidemill-ü😀": 24} {
		if got := groupPartition(group, 50); got != want {
			t.Errorf("%q is in partition %d, want %d", group, got, want)
		}
	}
}
