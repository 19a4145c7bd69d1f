package commit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/task"
)

// TestRandomFates runs sessions one after another, whose transactions commit, abort, or end without an answer, until all
// input is processed: each record has counted once, in order, in the outputs, the rows and the offsets.
func TestRandomFates(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	base := rand.Uint64()
	for i := range seeds {
		seed := base + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomFates(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

const (
	randomPartitions = 3
	randomRecords    = 300
	randomKeys       = 7
)

func randomFates(t *testing.T, random *rand.Rand) {
	h := newHarness(t, "in")
	h.config.MaxInterval = time.Duration(random.IntN(3)) * 100 * time.Microsecond
	h.config.MaxBytes = 1 << (10 + random.IntN(8))
	h.config.Producers = producers(t, h.log, 1+random.IntN(2))
	h.log.plan = func(int) fate {
		switch random.IntN(12) {
		case 0:
			return fate{fails: true, err: errLost}
		case 1:
			return fate{unknown: true, err: errLost}
		case 2, 3:
			return fate{unknown: true, happens: true, err: errLost}
		}
		return fate{}
	}
	input := make([][]task.Record, randomPartitions)
	for number := range input {
		for offset := range int64(randomRecords) {
			input[number] = append(input[number], task.Record{
				Topic: "in", Partition: int32(number), Offset: offset, Timestamp: offset, Key: fmt.Appendf(nil, "key-%d", random.IntN(randomKeys)), Value: []byte("x"),
			})
		}
	}
	for sessions := 0; ; sessions++ {
		if sessions > 10_000 {
			t.Fatal("it does not come to an end")
		}
		h.log.mu.Lock()
		restless := random.IntN(3) == 0
		forget := random.IntN(5) == 0
		h.log.mu.Unlock()
		if forget {
			clear(h.engines) // the disk is lost: everything comes from the changelogs
		}
		h.open(randomPartitions)
		if h.feed(input, restless) {
			break
		}
		h.log.generation++
		for _, producer := range h.config.Producers {
			if err := producer.Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.compare(input)
}

// feed processes what is left of the input and closes the session, at the end or, if restless, in the middle. It reports
// whether everything is committed.
func (h *harness) feed(input [][]task.Record, restless bool) bool {
	session := h.session
	var feeders sync.WaitGroup
	for number := range input {
		left := input[number][h.config.Next[commit.Place{Topic: "in", Partition: int32(number)}]:]
		feeders.Go(func() {
			for len(left) > 0 {
				n := min(len(left), 17)
				if err := session.Process(int32(number), left[:n]); err != nil {
					if !errors.Is(err, commit.ErrClosed) {
						h.t.Error(err)
					}
					return
				}
				left = left[n:]
			}
		})
	}
	if restless {
		time.Sleep(200 * time.Microsecond)
	} else {
		feeders.Wait()
	}
	err := h.close()
	feeders.Wait()
	if err != nil && !errors.Is(err, commit.ErrAborted) && !errors.Is(err, errLost) {
		h.t.Fatal(err)
	}
	for number := range input {
		if h.log.stored("in", int32(number)).Next < int64(len(input[number])) {
			return false
		}
	}
	return true
}

// compare holds outputs and rows against what the input says.
func (h *harness) compare(input [][]task.Record) {
	h.t.Helper()
	for number, records := range input {
		var want []string
		counts := map[string]int{}
		for _, record := range records {
			counts[string(record.Key)]++
			want = append(want, fmt.Sprintf("%s=%d", record.Key, counts[string(record.Key)]))
		}
		var got []string
		for _, e := range h.log.partitions[commit.Place{Topic: "out", Partition: int32(number)}] {
			if e.state == "committed" {
				got = append(got, fmt.Sprintf("%s=%s", e.record.Key, e.record.Value))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			h.t.Errorf("partition %d: outputs are\n%s\nwant\n%s", number, got, want)
		}
		for key, n := range counts {
			if row := h.row(int32(number), key); row != fmt.Sprint(n) {
				h.t.Errorf("partition %d: row %s is %s, want %d", number, key, row, n)
			}
		}
	}
}
