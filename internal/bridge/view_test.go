package bridge_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/token"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestViewFollowsTheChangelog(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 3), map[string]string{}
		test.put(t, model, 0, 100, "a")
		view := test.restored(t)
		test.want(t, model)
		test.put(t, model, 50, 150, "b")
		test.put(t, model, 0, 10, "")
		test.want(t, model)
		value, found, number, position, err := view.Get([]byte("k60"))
		if err != nil || !found || string(value) != "b" {
			t.Errorf("k60: %q, %v, %v", value, found, err)
		}
		if position <= 0 || position > view.Position(number) {
			t.Errorf("k60 was read at position %d of partition %d, which is at %d", position, number, view.Position(number))
		}
		if _, found, _, _, err := view.Get([]byte("k5")); found || err != nil {
			t.Errorf("k5 is deleted, and there is %v, %v", found, err)
		}
	})
}

func TestViewOfNothing(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 2), map[string]string{}
		test.restored(t)
		test.want(t, model)
		test.transact(t, true, test.records(model, 0, 1, "a")...)
		test.want(t, model)
	})
}

// A changelog written in transactions ends in a marker, which goka alone would wait behind for ever.
func TestViewEndsAtMarkers(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 3), map[string]string{}
		test.transact(t, true, test.records(model, 0, 50, "a")...)
		test.restored(t)
		test.want(t, model)
		test.transact(t, true, test.records(model, 20, 70, "b")...)
		test.want(t, model)
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.restored(t)
		test.want(t, model)
		if records, rebuilds := test.applied(); records != 0 || rebuilds != 0 {
			t.Errorf("after a restart %d records were applied and %d copies rebuilt, want none", records, rebuilds)
		}
	})
}

func TestViewPassesAbortedTails(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 2), map[string]string{}
		test.transact(t, true, test.records(model, 0, 20, "a")...)
		test.transact(t, false, test.records(map[string]string{}, 0, 40, "never")...)
		test.restored(t)
		test.want(t, model)
		test.transact(t, false, test.records(map[string]string{}, 10, 20, "never")...)
		test.want(t, model)
	})
}

// Records of an open transaction are not to be seen, nor waited for.
func TestViewDoesNotWaitForOpenTransactions(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 1), map[string]string{}
		test.put(t, model, 0, 10, "a")
		client := b.Client(t, kgo.TransactionalID(b.Name(t)))
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		later := map[string]string{}
		if err := client.ProduceSync(t.Context(), test.records(later, 5, 15, "later")...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		test.restored(t)
		test.want(t, model)
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		for key, value := range later {
			model[key] = value
		}
		test.want(t, model)
	})
}

func TestViewGoesOnWhereItStood(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 3), map[string]string{}
		test.put(t, model, 0, 1000, "a")
		test.restored(t)
		test.want(t, model)
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.put(t, model, 990, 1010, "b")
		test.restored(t)
		test.want(t, model)
		if records, rebuilds := test.applied(); records != 20 || rebuilds != 0 {
			t.Errorf("after the restart %d records were applied and %d copies rebuilt, want 20 and none", records, rebuilds)
		}
	})
}

// The directory as a kill leaves it, copied while the view runs, has rows and offset that agree.
func TestViewSurvivesAKill(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 2), map[string]string{}
		test.put(t, model, 0, 3000, "a")
		test.start(t)
		viewTestEventually(t, "something is applied", func() bool { records, _ := test.applied(); return records > 0 })
		var left string
		viewTestEventually(t, "the directory is copied", func() bool {
			left = filepath.Join(t.TempDir(), "left") // anew: files come and go meanwhile
			return os.CopyFS(left, os.DirFS(test.dir)) == nil
		})
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.put(t, model, 2500, 3500, "b")
		test.put(t, model, 0, 100, "")
		test.dir = left
		test.restored(t)
		test.want(t, model)
	})
}

func TestViewFollowsATopicCreatedAnew(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 2), map[string]string{}
		test.put(t, model, 0, 100, "old")
		test.restored(t)
		test.want(t, model)

		viewTestDeleteTopic(t, b, test.topic)
		b.CreateTopic(t, test.topic, 3, viewTestCompacted) // another number of partitions, too
		model = map[string]string{}
		test.put(t, model, 50, 80, "new")
		viewTestEventually(t, "the view follows the new topic", func() bool {
			return test.view.Partitions() == 3 && test.view.Recovered()
		})
		test.want(t, model)

		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		viewTestDeleteTopic(t, b, test.topic)
		b.CreateTopic(t, test.topic, 3, viewTestCompacted)
		model = map[string]string{}
		test.put(t, model, 0, 200, "newer") // longer than before: only the id tells
		test.restored(t)
		test.want(t, model)
		if _, rebuilds := test.applied(); rebuilds == 0 {
			t.Error("no copy was rebuilt")
		}
	})
}

func viewTestDeleteTopic(t *testing.T, b kafkatest.Broker, topic string) {
	t.Helper()
	client := b.Client(t)
	defer client.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{topic}
	named := kmsg.NewDeleteTopicsRequestTopic()
	named.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, named)
	request.TimeoutMillis = 10_000
	response, err := request.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if code := response.Topics[0].ErrorCode; code != 0 {
		t.Fatalf("deleting %s: error code %d", topic, code)
	}
}

func TestViewRebuildsWhatTheLogHasLeftBehind(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 1), map[string]string{}
		test.topic = b.Name(t)
		b.CreateTopic(t, test.topic, 1, map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "-1"})
		test.put(t, model, 0, 100, "a")
		test.restored(t)
		test.want(t, model)
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.put(t, model, 100, 200, "b")
		client := b.Client(t)
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Offset = 150
		cut := kmsg.NewDeleteRecordsRequestTopic()
		cut.Topic, cut.Partitions = test.topic, []kmsg.DeleteRecordsRequestTopicPartition{p}
		request := kmsg.NewPtrDeleteRecordsRequest()
		request.Topics, request.TimeoutMillis = []kmsg.DeleteRecordsRequestTopic{cut}, 10_000
		response, err := request.RequestWith(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		if code := response.Topics[0].Partitions[0].ErrorCode; code != 0 {
			t.Fatalf("deleting records: error code %d", code)
		}
		test.restored(t)
		clear(model)
		test.records(model, 150, 200, "b")
		test.want(t, model)
	})
}

func TestViewRebuildsAnOldCopy(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 1), map[string]string{}
		test.put(t, model, 0, 100, "a")
		test.restored(t)
		test.want(t, model)
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.now = func() time.Time { return time.Now().Add(6 * 24 * time.Hour) }
		test.restored(t)
		if records, rebuilds := test.applied(); records != 0 || rebuilds != 0 {
			t.Errorf("after six days %d records were applied and %d copies rebuilt, want none", records, rebuilds)
		}
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		test.now = func() time.Time { return time.Now().Add(7 * 24 * time.Hour) }
		test.restored(t)
		test.want(t, model)
		if records, rebuilds := test.applied(); records != 100 || rebuilds != 1 {
			t.Errorf("after seven days %d records were applied and %d copies rebuilt, want 100 and 1", records, rebuilds)
		}
	})
}

func TestViewRebuildsACorruptCopy(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 1), map[string]string{}
		test.put(t, model, 0, 100, "a")
		test.restored(t)
		test.want(t, model)
		if err := test.stop(); err != nil {
			t.Fatal(err)
		}
		damaged := 0
		logs, err := filepath.Glob(filepath.Join(test.dir, "0", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range logs {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 10 {
				data[10] ^= 0xff // in the first record: a damaged last one would be a torn write, which is no corruption
				damaged++
			}
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if damaged == 0 {
			t.Fatal("there is nothing to damage")
		}
		test.restored(t)
		test.want(t, model)
		if _, rebuilds := test.applied(); rebuilds == 0 {
			t.Error("no copy was rebuilt")
		}
	})
}

func TestViewRefuses(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test := newViewTest(t, b, 1)
		test.restored(t)
		if err := test.view.Run(t.Context()); !errors.Is(err, bridge.ErrViewRunning) {
			t.Errorf("running a running view: %v", err)
		}
		other := &viewTest{broker: b, topic: b.Name(t), dir: t.TempDir(), log: test.log}
		other.start(t)
		if err := other.stop(); !errors.Is(err, bridge.ErrNoChangelog) && err != nil {
			t.Errorf("running a view of no topic: %v", err)
		}
	})
}

func TestViewTokens(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		test, model := newViewTest(t, b, 2), map[string]string{}
		commands := b.Name(t)
		b.CreateTopic(t, commands, 2, nil)
		test.group, test.sources = b.Name(t), []string{commands}
		view := test.restored(t)
		await := func(number int32, offset int64, patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return view.Await(ctx, token.Token{Topic: commands, Partition: number, Offset: offset})
		}
		if err := await(0, 0, 100*time.Millisecond); !bridge.AwaitTimedOut(err) {
			t.Fatalf("a command that the group has not passed: %v, want a deadline", err)
		}
		// Rejected: the offset is committed, and no changelog record written.
		test.commitOffset(t, commands, 0, 1)
		if err := await(0, 0, viewTestPatience); err != nil {
			t.Fatalf("a rejected command: %v", err)
		}
		if err := await(0, 1, 100*time.Millisecond); !bridge.AwaitTimedOut(err) {
			t.Fatalf("the command after it: %v, want a deadline", err)
		}
		// Accepted, while somebody waits for it.
		for round := range int64(10) {
			waited := make(chan error, 1)
			go func() { waited <- await(1, round, viewTestPatience) }()
			test.transact(t, true, test.records(model, int(round), int(round)+1, "a")...)
			test.commitOffset(t, commands, 1, round+1)
			if err := <-waited; err != nil {
				t.Fatalf("an accepted command: %v", err)
			}
			if round := int(round); view.PartitionOf([]byte("k"+string(rune('0'+round)))) == 1 {
				if _, found, _, _, err := view.Get([]byte("k" + string(rune('0'+round)))); !found || err != nil {
					t.Fatalf("k%d: %v, %v", round, found, err)
				}
			}
		}
		if err := await(7, 0, time.Second); !errors.Is(err, bridge.ErrForeignToken) {
			t.Errorf("a token of a partition that there is not: %v", err)
		}
		if err := view.Await(t.Context(), token.Token{Topic: "other", Offset: 1}); !errors.Is(err, bridge.ErrForeignToken) {
			t.Errorf("a token of another topic: %v", err)
		}
	})
}
