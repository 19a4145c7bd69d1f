package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Who waits at a query instance for something new is answered there when it stops, also where the other instance takes its time to
// process what the stopped one did; and the stopped one leaves in time.
func TestStoppedInstanceAnswersWhoWaits(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		command := launchOrdering(t, brokers, "command", "--topics-partitions", "4")
		command.awaitReady()
		stops, slow := launchQuery(t, brokers, "stops"), launchQuery(t, brokers, "slow")
		stops.awaitReady()
		slow.awaitReady()
		sharedOut(t, stops, slow)
		place := func(customer string) (token string) {
			t.Helper()
			order := fmt.Sprintf(`{"orderId":"of-%s","customerId":%q,"itemLabel":"Tea","itemPrice":1}`, customer, customer)
			got := must(t, http.MethodPost, command.url+"/orders", order, "Prefer", "wait=20")
			if got.status != http.StatusCreated {
				t.Fatalf("placing an order: %d, %s", got.status, got.body)
			}
			return got.header.Get("Tidemill-Token")
		}
		must(t, http.MethodGet, stops.url+"/customers/first/orders", "", "Tidemill-Token", place("first"), "Prefer", "wait=20")

		slow.pause()
		proceeds := time.AfterFunc(1900*time.Millisecond, func() { _ = slow.Signal(syscall.SIGCONT) })
		defer proceeds.Stop()
		began := time.Now()
		stops.signal(syscall.SIGTERM)
		time.Sleep(300 * time.Millisecond) // its processor has left by then
		const customers = 8
		answers := make(chan string, customers)
		for n := range customers {
			customer := fmt.Sprintf("c%d", n)
			token := place(customer)
			go func() {
				got, err := ask(t.Context(), http.MethodGet, stops.url+"/customers/"+customer+"/orders", "", "Tidemill-Token", token, "Prefer", "wait=20")
				switch {
				case err != nil:
					answers <- err.Error()
				case got.status != http.StatusOK || !strings.Contains(got.body, "of-"+customer):
					answers <- fmt.Sprintf("%d after %v: %s", got.status, time.Since(began).Round(time.Millisecond), got.body)
				default:
					answers <- ""
				}
			}()
		}
		for range customers {
			if wrong := <-answers; wrong != "" {
				t.Errorf("who waits is answered with %s", wrong)
			}
		}
		t.Logf("all are answered %v after the signal", time.Since(began).Round(time.Millisecond))
		select {
		case <-stops.Done():
		case <-time.After(patience):
			t.Fatal("the instance does not stop")
		}
		took := time.Since(began)
		t.Logf("stopped in %v", took.Round(time.Millisecond))
		if code := stops.State().ExitCode(); code != 0 {
			t.Errorf("it ended with exit code %d", code)
		}
	})
}
