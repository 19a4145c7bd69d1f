package views_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newShared(t testing.TB, b kafkatest.Broker, partitions int32, standbys int) *shared {
	t.Helper()
	return &shared{fixture: newFixture(t, b, partitions), group: b.Name(t), standbys: standbys, session: 6 * time.Second}
}

// fill writes values 0 to count-1 under keys "k0" and so on.
func (s *shared) fill(t testing.TB, count int) {
	t.Helper()
	var records []*kgo.Record
	for n := range count {
		value := float64(n)
		records = append(records, s.record("k"+strconv.Itoa(n), &value))
	}
	s.broker.Produce(t, records...)
}

// Any instance answers any key, and each has only its share on its disk.
func TestSharingAnswersAnyKey(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 6, 0)
		s.keep = 50 * time.Millisecond
		s.fill(t, 60)
		for count := 1; count <= 3; count++ {
			s.start(t, fmt.Sprint("instance-", count))
			state := s.settled(t, s.instances...)
			answeredBy := make(map[string]int)
			for _, i := range s.instances {
				for n := range 60 {
					response, body := i.get(t, "/values/k"+strconv.Itoa(n))
					if want := fmt.Sprintf(`{"value_id":"k%d","value":%d.0}`, n, n); response.StatusCode != http.StatusOK || string(body) != want {
						t.Fatalf("%s answers %d %s, want %s", i.Name, response.StatusCode, body, want)
					}
					answeredBy[response.Header.Get("Tidemill-Instance")]++
				}
				response, _ := i.get(t, "/values/nothing")
				if response.StatusCode != http.StatusNotFound {
					t.Fatalf("%s answers %d for a key that is not there", i.Name, response.StatusCode)
				}
			}
			if len(answeredBy) != count {
				t.Fatalf("of %d instances, these answered: %v", count, answeredBy)
			}
			for _, i := range s.instances {
				owned := 0
				for _, p := range state.Partitions {
					if p.Owner == i.Name {
						owned++
					}
				}
				if owned != 6/count {
					t.Fatalf("%s owns %d of 6 partitions, of %d instances", i.Name, owned, count)
				}
				// What has gone elsewhere goes from the disk, too.
				eventually(t, "each has only its share on the disk", func() bool {
					entries, err := os.ReadDir(i.Dir)
					if err != nil {
						t.Fatal(err)
					}
					return len(entries) == owned
				})
				for _, p := range state.Partitions {
					_, err := os.Stat(filepath.Join(i.Dir, strconv.Itoa(int(p.Partition))))
					if (err == nil) != (p.Owner == i.Name) {
						t.Fatalf("partition %d of %s on the disk of %s: %v", p.Partition, p.Owner, i.Name, err)
					}
				}
			}
		}
	})
}
