package views_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What TestWatchReaderThatDoesNotRead writes: 12 MB, more than sockets hold, in batches that a reader's queue holds.
const (
	stuckRows   = 20
	stuckRounds = 60
	stuckBatch  = 100
)

// stuckKey is a key that makes an event of two kilobytes.
func stuckKey(row int) string { return fmt.Sprintf("k%02d-%s", row, strings.Repeat("x", 2000)) }

// TestWatchReaderThatDoesNotRead has one subscriber take nothing while much is written. The view and the other subscriber
// go on as if it was not there, what is kept for it is bounded, and when it reads at last it gets the latest of each row; or it
// is cut off, if that took longer than it may, and comes back by its last id.
func TestWatchReaderThatDoesNotRead(t *testing.T) {
	for name, within := range map[string]time.Duration{"late": 2 * patience, "cut off": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, kafkatest.Embedded(t), 1)
			f.restored(t)
			config := calculatorHTTP
			config.WriteTimeout = within
			url := f.serve(t, config)
			stuck, lively := follow(t, url+"/values", ""), follow(t, url+"/values", "")
			if e := stuck.must(t); e.name != "ready" {
				t.Fatalf("%+v", e)
			}
			if e := lively.must(t); e.name != "ready" {
				t.Fatalf("%+v", e)
			}
			value := 0.0
			for range stuckRounds {
				records := make([]*kgo.Record, stuckBatch)
				for i := range records {
					value++
					records[i] = f.record(stuckKey(i%stuckRows), &value)
				}
				f.broker.Produce(t, records...)
				f.level(t)
				for lively.must(t).told(t).Value != value {
				}
			}
			told := newFold()
			events, last, ended := stuckRead(t, stuck, told, value)
			if ended != (name == "cut off") {
				t.Errorf("its connection was ended by the server: %v", ended)
			}
			all := stuckRounds * stuckBatch
			if t.Logf("it was told %d events of %d changes", events, all); events > all*3/4 {
				t.Errorf("it was told %d events; of %d changes it is to get the latest", events, all)
			}
			if ended {
				again := follow(t, url+"/values", last)
				for e := again.must(t); e.name != "ready"; e = again.must(t) {
					if e.name == "reset" {
						told = newFold()
					} else if row := e.told(t); told.put(row.ID, row.Value) != nil {
						t.Fatalf("%s: %v told after it was cut off", row.ID[:3], row.Value)
					}
				}
			}
			want := map[string]float64{}
			for row := range stuckRows {
				want[stuckKey(row)] = value - stuckRows + 1 + float64(row)
			}
			if !told.is(want) {
				t.Errorf("in the end it has %.300v", told.rows)
			}
		})
	}
}

// stuckRead reads until a value has come or the server has ended the stream. It returns how many events there were, the last id,
// and whether the stream was ended.
func stuckRead(t *testing.T, c *connection, told *fold, until float64) (events int, last string, ended bool) {
	t.Helper()
	for {
		e, err := c.next()
		if err != nil {
			return events, last, true
		}
		last = e.id
		if e.name == "row" {
			events++
			row := e.told(t)
			if err := told.put(row.ID, row.Value); err != nil {
				t.Fatalf("%.120s", err)
			}
			if row.Value == until {
				return events, last, false
			}
		}
	}
}
