package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
)

// Random commands, most straight to the topic and some hundreds over HTTP, against the model.
func TestRandomCommands(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		_, seed := random(t)
		n, _ := sizes()
		s := separate(t, brokers)
		began := time.Now()
		var wait sync.WaitGroup
		direct := calculatortest.NewRandom(seed, 200, began.UnixMilli())
		wait.Go(func() { produce(t, producer(t, brokers), direct, n-n/20, 0) })
		var answers []answer
		wait.Go(func() { answers = overHTTP(t, s.commander.url, calculatortest.NewRandom(seed+1, 200, 0), n/20) })
		wait.Wait()
		found := check(t, brokers)
		t.Logf("seed %d: %d commands decided in %s: %d events, %d rejections, %d repeated", seed, found.commands,
			time.Since(began).Round(time.Millisecond), found.events, found.rejections, found.repeated)
		checkView(t, s.view.url, found)
		for _, got := range answers {
			told(t, found, got)
		}
	})
}

// overHTTP sends so many random commands, eight at a time, and returns the answers.
func overHTTP(t *testing.T, url string, from *calculatortest.Random, n int) []answer {
	t.Helper()
	type request struct{ method, path, body string }
	requests := make(chan request)
	var mu sync.Mutex
	var answers []answer
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for r := range requests {
				got, err := ask(t.Context(), r.method, url+r.path, r.body)
				if err != nil {
					t.Errorf("%s %s: %v", r.method, r.path, err)
					continue
				}
				mu.Lock()
				answers = append(answers, got)
				mu.Unlock()
			}
		})
	}
	for sent := 0; sent < n; {
		method, path, body, ok := requestOf(from.Next())
		if !ok {
			continue
		}
		requests <- request{method, path, body}
		sent++
	}
	close(requests)
	wait.Wait()
	return answers
}
