package views_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
)

// A request that another instance has forwarded, and that waits at one that stops, is asked again where its partition is now; one
// that has come there itself is waited for.
func TestSharingForwardedWaitsElsewhere(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 2, 1)
		s.fill(t, 10)
		stops, stays := s.start(t, "one"), s.start(t, "other")
		state := s.settled(t, stops, stays)
		number, err := stops.view.PartitionOf("k1")
		if err != nil {
			t.Fatal(err)
		}
		if state.Partitions[number].Owner == stays.Name {
			stops, stays = stays, stops
		}
		token := views.Token{Topic: s.commands, Partition: number}.String()
		type answered struct {
			status   int
			instance string
		}
		ask := func(at *instance) <-chan answered {
			answer := make(chan answered, 1)
			go func() {
				response, _, err := at.try("/values/k1", []string{"Tidemill-Token", token, "Prefer", "wait=25"})
				if err != nil {
					answer <- answered{}
					return
				}
				answer <- answered{response.StatusCode, response.Header.Get("Tidemill-Instance")}
			}()
			return answer
		}
		if stops.sharing.Waiting() != 0 || stays.sharing.Waiting() != 0 {
			t.Errorf("%d and %d requests wait before there are any", stops.sharing.Waiting(), stays.sharing.Waiting())
		}
		forwarded := ask(stays)
		eventually(t, "the request waits at both instances", func() bool { return stops.sharing.Waiting() == 1 && stays.sharing.Waiting() == 1 })
		direct := ask(stops)
		eventually(t, "two wait at the owner", func() bool { return stops.sharing.Waiting() == 2 })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := stops.sharing.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if waiting := stops.sharing.Waiting(); waiting != 2 {
			t.Errorf("%d requests wait at the instance that stops, want 2", waiting)
		}
		stops.cutOff()
		if got := <-direct; got.status != http.StatusServiceUnavailable {
			t.Errorf("the request that was cut off is answered with %+v", got)
		}
		eventually(t, "the forwarded request waits at the other instance alone", func() bool { return stops.sharing.Waiting() == 0 && stays.sharing.Waiting() == 1 })
		time.Sleep(50 * time.Millisecond)
		s.commit(t, number, 1)
		if got := <-forwarded; got.status != http.StatusOK || got.instance != stays.Name {
			t.Errorf("the request that was forwarded is answered with %+v", got)
		}
		if waiting := stays.sharing.Waiting(); waiting != 0 {
			t.Errorf("%d requests wait when all are answered", waiting)
		}
	})
}
