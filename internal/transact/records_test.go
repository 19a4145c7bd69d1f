package transact

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/internal/graph"
)

// TestRecordsAreReusedOnlyAfterACommit gives the same memory out again once a transaction is committed, filled anew, and never
// after it has failed.
func TestRecordsAreReusedOnlyAfterACommit(t *testing.T) {
	var r records
	output := func(i int) *graph.Output {
		return &graph.Output{
			Topic: "topic", Key: fmt.Append(nil, i), Timestamp: int64(i),
			Headers: []graph.Header{{Key: "a"}, {Key: "b"}}[:i%3],
		}
	}
	first := r.of(output(2))
	for i := range 2 * recordChunk {
		r.of(output(i))
	}
	first.Offset, first.Partition = 7, 3
	r.reuse()
	again := r.of(output(1))
	if again != first || string(again.Key) != "1" || len(again.Headers) != 1 || again.Offset != 0 || again.Partition != 0 {
		t.Errorf("after a commit: %p %+v, before %p", again, *again, first)
	}
	r.abandon()
	if other := r.of(output(4)); other == first || string(first.Key) != "1" {
		t.Error("a failed transaction's record was given out again")
	}
}
