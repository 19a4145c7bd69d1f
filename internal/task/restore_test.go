package task_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// restored applies changelog records to a new store and returns all its rows.
func restored(t *testing.T, sub *graph.SubTopology, changelog []graph.Output, limit uint64) string {
	t.Helper()
	base := store.NewMemory()
	batch := store.NewBatch()
	for i, output := range changelog {
		for _, spec := range sub.Stores {
			if spec.Changelog != output.Topic {
				continue
			}
			_, err := task.Restore(batch, spec, task.Record{
				Topic: output.Topic, Offset: int64(i), Timestamp: output.Timestamp, Key: output.Key, Value: output.Value, Headers: output.Headers,
			}, limit)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := base.Apply(batch); err != nil {
		t.Fatal(err)
	}
	return allRows(t, base)
}

func clone(output graph.Output) graph.Output {
	output.Key, output.Value, output.Headers = bytes.Clone(output.Key), bytes.Clone(output.Value), slices.Clone(output.Headers)
	for i := range output.Headers {
		output.Headers[i].Value = bytes.Clone(output.Headers[i].Value)
	}
	return output
}

func allRows(t *testing.T, base store.Engine) string {
	t.Helper()
	text := ""
	for _, name := range []string{"rows", "stamped", "plain", "derived"} {
		rows := base.Range(name, nil, nil, false)
		for rows.Next() {
			text += fmt.Sprintf("%s %q=%q\n", name, rows.Key(), rows.Value())
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// TestRestoredRowsEqualLive writes at random and restores from the changelog alone, up to each commit.
func TestRestoredRowsEqualLive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t, nil)
	var changelog []graph.Output
	live := []string{""}
	for i := range 40 {
		for range 1 + random.IntN(5) {
			h.must(h.step(int64(random.IntN(1000)), func(ctx *graph.Context) error {
				key, value := fmt.Appendf(nil, "k%d", random.IntN(12)), fmt.Append(nil, random.IntN(1000))
				if random.IntN(4) == 0 {
					value = nil
				}
				switch random.IntN(3) {
				case 0:
					ctx.State("rows").Put(key, value, nil)
				case 1:
					if value != nil {
						value = append(graph.AppendRow(nil, int64(random.IntN(5000))), value...)
					}
					ctx.State("stamped").Put(key, value, nil)
				case 2:
					ctx.State("plain").Put(key, value, fmt.Appendf(nil, "id-%d", i))
				}
				return nil
			}))
		}
		for _, output := range h.commit().Changelog {
			changelog = append(changelog, clone(output)) // the layer's memory serves again
		}
		live = append(live, allRows(t, h.base))
	}
	for commit, want := range live {
		if got := restored(t, h.sub, changelog, uint64(commit)); got != want {
			t.Fatalf("seed %d: restored up to commit %d\n%swant\n%s", seed, commit, got, want)
		}
	}
}

// TestRestoreForeignRecords takes records without the framework's header, and refuses malformed ones.
func TestRestoreForeignRecords(t *testing.T) {
	h := newHarness(t, nil)
	plain := []graph.Output{{Topic: "app-rows-changelog", Key: []byte("a"), Value: []byte{}}}
	if got := restored(t, h.sub, plain, 0); got != "rows \"a\"=\"\"\n" {
		t.Errorf("got %s", got)
	}
	bad := task.Record{Key: []byte("a"), Headers: []graph.Header{{Key: meta.Changelog}}}
	if _, err := task.Restore(store.NewBatch(), h.sub.Stores[0], bad, 9); !errors.Is(err, meta.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseChangelog holds the round trip, and that no bytes panic.
func FuzzParseChangelog(f *testing.F) {
	f.Add(uint64(0), []byte(nil))
	f.Add(uint64(1)<<63, []byte("extra"))
	f.Fuzz(func(t *testing.T, sequence uint64, extra []byte) {
		if _, _, err := task.ParseChangelog(extra); err != nil && !errors.Is(err, meta.ErrMalformed) {
			t.Errorf("%q: %v", extra, err)
		}
		gotSequence, gotExtra, err := task.ParseChangelog(task.AppendChangelog(nil, sequence, extra))
		if err != nil || gotSequence != sequence || string(gotExtra) != string(extra) {
			t.Errorf("got %d, %q, %v", gotSequence, gotExtra, err)
		}
	})
}
