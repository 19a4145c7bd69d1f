package views_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/kafkatest"
)

// walk reads all pages of a query, from whichever instance, and returns the keys.
func (s *shared) walk(t testing.TB, random *rand.Rand, query url.Values) (keys []string) {
	t.Helper()
	for {
		i := s.instances[random.IntN(len(s.instances))]
		response, body := i.get(t, "/values?"+query.Encode())
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %v with %d: %s", i.Name, query, response.StatusCode, body)
		}
		var page page
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, item := range page.Items {
			if want := "k" + strconv.Itoa(int(item.Value)); item.ID != want {
				t.Fatalf("%s has the value %v", item.ID, item.Value)
			}
			keys = append(keys, item.ID)
		}
		if positions := strings.Split(response.Header.Get("Tidemill-Position"), ","); len(positions) != 6 || !strings.HasPrefix(positions[5], "5:") {
			t.Fatalf("the positions are %v", positions)
		}
		if response.Header.Get("Tidemill-Staleness") == "" {
			t.Fatal("the answer does not say how stale it is")
		}
		if page.Next == "" {
			return keys
		}
		query.Set("cursor", page.Next)
	}
}

// Rows of all partitions come in the order of their keys, page by page, whichever instances are asked.
func TestSharingRows(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 6, 0)
		const count = 300
		s.fill(t, count)
		var all []string
		for n := range count {
			all = append(all, "k"+strconv.Itoa(n))
		}
		slices.Sort(all)
		for n := range 3 {
			s.start(t, fmt.Sprint("instance-", n))
		}
		s.settled(t, s.instances...)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range 40 {
			query := url.Values{"limit": {strconv.Itoa(1 + random.IntN(120))}}
			want := all
			switch random.IntN(3) {
			case 0:
				prefix := "k" + strconv.Itoa(random.IntN(12))
				query.Set("prefix", prefix)
				want = slices.DeleteFunc(slices.Clone(all), func(key string) bool { return !strings.HasPrefix(key, prefix) })
			case 1:
				from, to := all[random.IntN(count)], all[random.IntN(count)]
				query.Set("from", from)
				query.Set("to", to)
				want = slices.DeleteFunc(slices.Clone(all), func(key string) bool { return key < from || key >= to })
			}
			counted := url.Values{"count": {""}}
			for name := range query {
				if name != "limit" {
					counted[name] = query[name]
				}
			}
			if random.IntN(2) == 0 {
				query.Set("order", "desc")
				want = slices.Clone(want)
				slices.Reverse(want)
			}
			if random.IntN(2) == 0 {
				query.Set("max_staleness", "10s")
			}
			if got := s.walk(t, random, query); !slices.Equal(got, want) {
				t.Fatalf("%v: got %v, want %v", query, got, want)
			}
			_, body := s.instances[random.IntN(3)].get(t, "/values?"+counted.Encode())
			if want := fmt.Sprintf(`{"count":%d}`, len(want)); string(body) != want {
				t.Fatalf("%v: got %s, want %s", counted, body, want)
			}
		}
		for _, i := range s.instances {
			response, _ := i.get(t, "/values?limit=3")
			if again, _ := i.get(t, "/values?limit=3", "If-None-Match", response.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
				t.Fatalf("the same page again: status %d", again.StatusCode)
			}
			for _, wrong := range []string{"limit=0", "cursor=x", "prefix=a&nonsense", "max_staleness=-1s", "max_staleness=x", "max_staleness=1s&max_staleness=2s", "count&limit=3"} {
				if response, body := i.get(t, "/values?"+wrong); response.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte(`"detail"`)) {
					t.Fatalf("%s: status %d, %s", wrong, response.StatusCode, body)
				}
			}
		}
	})
}

// A part that is missing is said: the query fails, or, where it may be partial, names what is not in the answer.
func TestSharingSaysWhatIsMissing(t *testing.T) {
	b := kafkatest.Embedded(t)
	s := newShared(t, b, 6, 0)
	s.fill(t, 60)
	here, gone := s.start(t, "here"), s.spawn(t, "gone")
	state := s.settled(t, here, gone)
	// What has just gone elsewhere is held on for a moment, and would be answered from.
	eventually(t, "the other's partitions are let go", func() bool { return len(here.view.Status()) == 3 })
	gone.kill()
	var missing []string
	for _, p := range state.Partitions {
		if p.Owner == "gone" {
			missing = append(missing, strconv.Itoa(int(p.Partition)))
		}
	}
	response, body := here.get(t, "/values", "Prefer", "wait=0.3")
	var problem struct {
		Type    string
		Missing []int
	}
	if err := json.Unmarshal(body, &problem); err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" ||
		problem.Type != "urn:tidemill:partition-unavailable" || len(problem.Missing) != len(missing) {
		t.Fatalf("status %d, %s, %v", response.StatusCode, body, err)
	}
	response, body = here.get(t, "/values?partial&limit=60")
	var partial struct {
		Items   []any
		Missing []int
	}
	if err := json.Unmarshal(body, &partial); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %s, %v", response.StatusCode, body, err)
	}
	if got := response.Header.Get("Tidemill-Missing"); got != strings.Join(missing, ",") || len(partial.Missing) != len(missing) || len(partial.Items) == 0 || len(partial.Items) == 60 {
		t.Fatalf("%d items, missing %q, want %v", len(partial.Items), got, missing)
	}
	response, _ = here.get(t, "/values?partial&count")
	if response.Header.Get("Tidemill-Missing") == "" {
		t.Fatal("a count without some partitions does not say so")
	}
}
