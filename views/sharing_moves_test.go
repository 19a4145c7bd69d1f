package views_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
)

var (
	movesRate  = flag.Int("moves.rate", 150, "queries a second of TestSharedViewMoves")
	movesPhase = flag.Duration("moves.phase", 700*time.Millisecond, "for how long each phase of TestSharedViewMoves goes on after what happens in it")
	movesFull  = flag.Bool("moves.full", false, "in TestSharedViewMoves, the kill without a standby on both brokers, and an instance that is stopped and goes on")
)

// Instances are added, taken away and killed while queries with tokens and bounds come to all of them: no answer is
// wrong, older than its token or its bound, and with a standby none is missing. Without one a kill has a gap, in which queries fail
// clearly; a planned move has none.
//
//	go test ./views -run TestSharedViewMoves -v -moves.rate 1000 -moves.phase 5s -moves.full
func TestSharedViewMoves(t *testing.T) {
	for _, standbys := range []int{1, 0} {
		t.Run(fmt.Sprintf("%d-standbys", standbys), func(t *testing.T) {
			if standbys == 0 && !*movesFull {
				moves(t, kafkatest.Embedded(t), standbys)
				return
			}
			kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) { moves(t, b, standbys) })
		})
	}
}

// moves goes through the phases on one broker.
func moves(t *testing.T, b kafkatest.Broker, standbys int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newShared(t, b, 6, standbys)
	if b.Kind() == kafkatest.KindEmbedded && !*movesFull {
		s.session = 3 * time.Second
	}
	w := newMovesWriter(t, s)
	first, second, third := s.start(t, "first"), s.start(t, "second"), s.spawn(t, "third")
	s.settled(t, first, second, third)
	load := newMovesLoad(t, w, seed, first, second, third)
	rest := func() { time.Sleep(*movesPhase) }

	load.phase("three instances")
	rest()

	load.phase("one is added")
	fourth := s.start(t, "fourth")
	s.settled(t, first, second, third, fourth)
	load.reach(first, second, third, fourth)
	rest()

	load.phase("one is drained and stopped")
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := second.sharing.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	drained := time.Since(began)
	load.reach(first, third, fourth)
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("drained in %v, stopped in %v", drained.Round(time.Millisecond), (time.Since(began) - drained).Round(time.Millisecond))
	s.settled(t, first, third, fourth)
	rest()

	if *movesFull {
		load.phase("one is stopped past the session time-out and goes on")
		third.pause(t)
		time.Sleep(s.session + 2*time.Second)
		third.proceed(t)
		s.settled(t, first, third, fourth)
		rest()
	}

	load.phase("one is killed")
	load.tolerate(standbys == 0)
	third.kill()
	if standbys == 0 || *movesFull { // else the standbys answer already, before the group has noticed
		s.settled(t, first, fourth)
	}
	load.tolerate(false)
	load.reach(first, fourth)
	rest()

	load.end()
}
