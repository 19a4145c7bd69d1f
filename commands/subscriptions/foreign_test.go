package subscriptions

import (
	"testing"

	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/store"
)

// TestForeignCommands: commands that another producer wrote, without our headers, have outcomes like any other.
func TestForeignCommands(t *testing.T) {
	for name, told := range map[string]bool{"the application tells ids": true, "only the outcomes tell ids": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1).process(nil)
			s := w.start(store.NewMemory(), func(c *Config) {
				if !told {
					c.CommandID = nil
				}
			})
			write := func(body string) {
				t.Helper()
				_, err := w.log.Append(follow.Record{Topic: w.spec.Commands, Key: []byte("k"), Value: []byte(body), Timestamp: start})
				if err != nil {
					t.Fatal(err)
				}
			}
			write(`{"id":"a","do":"events:1"}`)
			write(`no JSON`)
			write(`{"id":"b","do":"reject:invalid"}`)
			for id, want := range map[string]outcome.Status{"a": outcome.Accepted, "b": outcome.Rejected} {
				code, got, _ := get(t, s.url+"/commands/"+id, "Prefer", "wait=20")
				if code != 200 || got.Status != want || got.Aggregate != "k" {
					t.Errorf("%s: %d %+v", id, code, got)
				}
			}
			r := connect(t, s.url+"/outcomes?aggregate=k", "")
			for i, want := range []string{"accepted", "failed", "rejected"} {
				if e := r.must(t); e.name != want {
					t.Errorf("event %d: %+v, want %s", i, e, want)
				}
			}
		})
	}
}
