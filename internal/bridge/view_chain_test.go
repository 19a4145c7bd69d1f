package bridge_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/token"
	"github.com/twmb/franz-go/pkg/kgo"
)

// chain is the way of a command to a view: topics, and the groups that read the second and the third.
type chain struct{ commands, events, moved, query, rows string }

// newChainTest returns a test of a view that stands behind two applications and a repartition topic.
func newChainTest(t *testing.T, b kafkatest.Broker) (*viewTest, chain) {
	test := newViewTest(t, b, 2)
	way := chain{commands: b.Name(t), events: b.Name(t), moved: b.Name(t), query: b.Name(t), rows: b.Name(t)}
	b.CreateTopic(t, way.commands, 1, nil)
	b.CreateTopic(t, way.events, 1, nil)
	b.CreateTopic(t, way.moved, 2, nil)
	test.group, test.sources = b.Name(t), []string{way.commands}
	test.hops = []bridge.ViewHop{{Topics: []string{way.events}, Group: way.query}, {Topics: []string{way.moved}, Group: way.rows, Repartitioned: true}}
	return test, way
}

// TestViewTokenChain follows commands through two applications and a repartition topic. Everything is written in
// transactions, so that markers lie where no group commits, and each hop is held back once: a wait that were skipped shows.
func TestViewTokenChain(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, way := newChainTest(t, b)
		commands, events, moved, query, rows := way.commands, way.events, way.moved, way.query, way.rows
		view := test.restored(t)
		await := func(offset int64, patience time.Duration, only ...int32) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return view.Await(ctx, token.Token{Topic: commands, Offset: offset}, only...)
		}
		held := func(offset int64, by string) {
			t.Helper()
			if err := await(offset, 150*time.Millisecond); !bridge.AwaitTimedOut(err) {
				t.Fatalf("held back by %s: %v, want a deadline", by, err)
			}
		}
		held(0, "the first group")
		// Rejected: nothing follows, and nobody has to commit anything.
		test.commitOffset(t, commands, 0, 1)
		if err := await(0, viewTestPatience); err != nil {
			t.Fatalf("a rejected command: %v", err)
		}
		// An event at 0, its marker at 1; an aborted one at 2, its marker at 3.
		test.transact(t, true, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("e")})
		test.transact(t, false, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("aborted")})
		held(1, "the first group")
		test.commitOffset(t, commands, 0, 2)
		held(1, "the second group")
		key := []byte("k0")
		number := view.PartitionOf(key)
		test.transact(t, true, &kgo.Record{Topic: moved, Key: key, Value: []byte("r")})
		test.commitOf(t, query, events, 0, 1)
		held(1, "the third group")
		if err := await(1, viewTestPatience, 1-number); err != nil {
			t.Fatalf("on the partition that nothing leads to: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- await(1, viewTestPatience) }()
		test.transact(t, true, &kgo.Record{Topic: test.topic, Key: key, Value: []byte("v")})
		test.commitOf(t, rows, moved, number, 1)
		if err := <-waited; err != nil {
			t.Fatalf("a command that went all the way: %v", err)
		}
		if value, found, _, _, err := view.Get(key); string(value) != "v" || !found || err != nil {
			t.Fatalf("its row: %q, %v, %v", value, found, err)
		}
		// An event of which the second application makes nothing.
		test.transact(t, true, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("e")})
		test.commitOffset(t, commands, 0, 3)
		held(2, "the second group")
		test.commitOf(t, query, events, 0, 5)
		if err := await(2, viewTestPatience); err != nil {
			t.Fatalf("an event without effect: %v", err)
		}
	})
}

// TestViewAsOf: a copy is as of a time once every group on the way has made all of what had happened by then, wherever its
// markers lie; that it is level with the changelog says nothing.
func TestViewAsOf(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, way := newChainTest(t, b)
		events, moved, query, rows := way.events, way.moved, way.query, way.rows
		view := test.restored(t)
		key := []byte("k0")
		number := view.PartitionOf(key)
		await := func(number int32, patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return view.AwaitAsOf(ctx, number, time.Now())
		}
		reached := func(number int32, what string) {
			t.Helper()
			began := time.Now()
			if err := await(number, viewTestPatience); err != nil || view.AsOf(number).Before(began) {
				t.Fatalf("%s: %v, as of %v before it was asked for", what, err, began.Sub(view.AsOf(number)))
			}
		}
		held := func(number int32, by string) {
			t.Helper()
			began := time.Now()
			if err := await(number, 150*time.Millisecond); !bridge.AwaitTimedOut(err) || !view.AsOf(number).Before(began) {
				t.Fatalf("held back by %s: %v, want a deadline", by, err)
			}
		}
		reached(number, "nothing has happened")
		test.transact(t, true, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("e")})
		test.transact(t, false, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("aborted")})
		held(number, "the first hop's group")
		held(1-number, "the first hop's group")
		test.transact(t, true, &kgo.Record{Topic: moved, Key: key, Value: []byte("r")})
		test.commitOf(t, query, events, 0, 1)
		held(number, "the second hop's group")
		reached(1-number, "the partition that nothing leads to")
		waited := make(chan error, 1)
		go func() { waited <- await(number, viewTestPatience) }()
		test.transact(t, true, &kgo.Record{Topic: test.topic, Key: key, Value: []byte("v")})
		test.commitOf(t, rows, moved, number, 1)
		if err := <-waited; err != nil {
			t.Fatalf("what has gone all the way: %v", err)
		}
		if value, found, _, _, err := view.Get(key); string(value) != "v" || !found || err != nil {
			t.Fatalf("its row: %q, %v, %v", value, found, err)
		}
		reached(number, "all is done")
		// Aborted: nobody has anything to do.
		test.transact(t, false, &kgo.Record{Topic: events, Key: []byte("k"), Value: []byte("aborted")})
		reached(number, "an aborted event")
	})
}
