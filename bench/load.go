package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/log"
)

// commandsTopic is what all contenders read.
const commandsTopic = "calculator-commands"

// beginning is the timestamp of the first command: message time, not the clock's.
const beginning = 1_700_000_000_000

// command returns the i-th command of a load over n values: each is created first, then added to. Value i has the same id in
// every load.
func command(i, n int) *kgo.Record { return commandOn(i, i%n, i < n) }

// commandOn returns the i-th command of a load, which creates or updates the given value.
func commandOn(i, value int, create bool) *kgo.Record { return commandFor(i, valueID(value), create) }

// commandFor does so for a value by its id.
func commandFor(i int, key string, create bool) *kgo.Record {
	action := `"UpdateValue","data":{"value-id":"` + key + `","operation":"ADD","value":1.5}`
	if create {
		action = `"CreateValue","data":{"value-id":"` + key + `","value":3}`
	}
	body := fmt.Appendf(nil, `{"id":"%s","action":%s,"timestamp":%d}`, commandID(i), action, beginning+i)
	return &kgo.Record{Topic: commandsTopic, Key: []byte(key), Value: body}
}

// commandID is as random as a UUID, and the same in every load, so that what is made of the loads can be compared.
func commandID(i int) string {
	var id uuid.UUID
	random := rand.NewPCG(uint64(i), 0x6d696c6c)
	binary.LittleEndian.PutUint64(id[:8], random.Uint64())
	binary.LittleEndian.PutUint64(id[8:], random.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
	return id.String()
}

func valueID(i int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", i) }

// load makes the topic of commands hold n commands over so many keys, and nothing else.
func (s *session) load(ctx context.Context, n, keys int) error {
	return s.loadRecords(ctx, fmt.Sprintf("%d over %d keys", n, keys), n, func(i int) *kgo.Record { return command(i, keys) })
}

// loadRecords makes it hold n records, unless it does so already.
func (s *session) loadRecords(ctx context.Context, name string, n int, record func(int) *kgo.Record) error {
	wanted := fmt.Sprintf("%s in %d partitions", name, s.partitions)
	if s.loaded == wanted {
		return nil
	}
	if err := s.emptyCommands(ctx); err != nil {
		return err
	}
	s.say("    loading %d commands", n)
	cl, err := s.producer()
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	shown := time.Now()
	for i := range n {
		if i%(1<<16) == 0 && time.Since(shown) > shownInterval {
			shown = time.Now()
			s.say("    %d of %d loaded", i, n)
		}
		cl.Produce(ctx, record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	err = cl.Flush(ctx)
	if first := failed.Load(); first != nil {
		err = errors.Join(err, *first)
	}
	if err != nil {
		return fmt.Errorf("loading commands: %w", err)
	}
	s.loaded = wanted
	return nil
}

// emptyCommands makes the topic of commands anew.
func (s *session) emptyCommands(ctx context.Context) error {
	s.loaded = ""
	if err := s.admin.DeleteTopics(ctx, commandsTopic); err != nil {
		return err
	}
	_, err := s.admin.EnsureTopic(ctx, log.TopicSpec{Name: commandsTopic, Partitions: s.partitions, Config: forever})
	return err
}
