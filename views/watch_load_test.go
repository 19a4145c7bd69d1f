package views_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/streamtest"
)

// watchers is how many subscriptions TestWatchLoad opens.
var watchers = flag.Int("views.watches", 1000, "subscriptions that TestWatchLoad opens; 10000 for the promise itself")

// What an instance of a view may take up: so many bytes for itself, and so many a subscription, which is 300 MB for 10,000.
const (
	loadBase         = 35_000_000
	loadSubscription = 26_500
)

// loadChanges is how many changes TestWatchLoad sends to everybody.
const loadChanges = 20

// TestWatchLoad opens many subscriptions over HTTP to one instance, a process of its own: half of them to a prefix, half to
// one key. It holds what the process takes up in memory against what is promised, and tells how long a change takes to reach
// all of them. With the race detector only the changes are looked at.
func TestWatchLoad(t *testing.T) {
	s := &shared{fixture: newFixture(t, kafkatest.Embedded(t), 4)}
	for i := range 200 {
		s.put(t, "k"+strconv.Itoa(i), number(float64(i)))
	}
	streamtest.Allow(t, *watchers) // the server is a child, and gets the limit that there is when it starts
	server := s.spawn(t, "load", func(c *instanceConfig) { c.Name, c.Group = "load", "" })
	eventually(t, "the view is restored", func() bool {
		response, err := client.Get(server.url + "/values/k199")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == 200
	})
	alone, _ := streamtest.Resident(t, server.pid)
	began := time.Now()
	all := streamtest.Open(t, strings.TrimPrefix(server.url, "http://"), *watchers, 2*patience, func(i int) string {
		return []string{"/values?prefix=k1", "/values/k1"}[i%2]
	})
	opened := time.Since(began)
	open, _ := streamtest.Resident(t, server.pid)
	took := make([]time.Duration, 0, loadChanges)
	for i := range loadChanges {
		written := time.Now()
		s.put(t, "k1", number(float64(1000+i)))
		line := fmt.Sprintf(`data: {"value_id":"k1","value":%d.0}`, 1000+i)
		streamtest.Each(t, len(all), func(i int) error { return all[i].Await(line) })
		took = append(took, time.Since(written))
	}
	slices.Sort(took)
	now, peak := streamtest.Resident(t, server.pid)
	bound := loadBase + *watchers*loadSubscription
	t.Logf("%d subscriptions: %.1f MB alone, %.1f MB when they were open (%v), %.1f MB after %d changes to all, at most %.1f MB; the bound is %.1f MB, %.1f kB a subscription",
		*watchers, streamtest.Megabytes(alone), streamtest.Megabytes(open), opened.Round(time.Millisecond), streamtest.Megabytes(now), loadChanges,
		streamtest.Megabytes(peak), streamtest.Megabytes(bound), float64(peak-alone)/1e3/float64(*watchers))
	t.Logf("a change reached all in %v (median), %v (longest)", took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
	if peak > bound && !costtest.Races { // the race detector takes up several times the memory
		t.Errorf("%d subscriptions take %.1f MB, the bound is %.1f MB", *watchers, streamtest.Megabytes(peak), streamtest.Megabytes(bound))
	}
}
