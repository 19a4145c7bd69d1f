package torture

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
	"github.com/tidemill/tidemill/test/torture/history"
)

// direct is another program that writes commands straight to the topic: some twice, some with another body, some that cannot
// be read, and a fifth of them dated hours ago, as by a clock that was set back.
type direct struct {
	client *kgo.Client
	done   chan struct{}

	mu           sync.Mutex
	acknowledged map[history.Place]string // command ids, "" for what cannot be read; guarded by mu
}

const (
	directPace = 8 * ms
	setBack    = 6 * time.Hour
)

// newDirect starts the program, which ends with ctx.
func newDirect(ctx context.Context, t *testing.T, brokers string, seed uint64) *direct {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic(calculator.Commands.Name()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(100*ms), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	d := &direct{client: client, done: make(chan struct{}), acknowledged: map[history.Place]string{}}
	go func() {
		defer close(d.done)
		from := calculatortest.NewRandom(seed, 200, time.Now().UnixMilli())
		for n := 0; ctx.Err() == nil; n++ {
			d.produce(from.Next(), n%150 == 149)
			select {
			case <-time.After(directPace):
			case <-ctx.Done():
			}
		}
	}()
	return d
}

// produce writes one command, or something in its place that cannot be read.
func (d *direct) produce(c calculator.Command, unreadable bool) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(c.ID)) // never fails
	if hash.Sum32()%5 == 0 {
		c.Timestamp -= int64(hash.Sum32()) % setBack.Milliseconds()
	}
	body, err := calculator.Commands.Value().Append(nil, c)
	if err != nil {
		return
	}
	id := c.ID
	if unreadable {
		id, body = "", body[:len(body)/2]
	}
	record := &kgo.Record{Key: []byte(c.Data.ValueID), Value: body, Timestamp: time.UnixMilli(c.Timestamp)}
	d.client.TryProduce(context.Background(), record, func(r *kgo.Record, err error) {
		if err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.acknowledged[history.Place{Partition: r.Partition, Offset: r.Offset}] = id
		}
	})
}

// wait waits until the log has acknowledged everything, and returns what that is.
func (d *direct) wait() (map[history.Place]string, error) {
	<-d.done
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := d.client.Flush(ctx)
	d.client.Close()
	if err != nil {
		err = errors.Join(errors.New("stuck: a program cannot write its commands to the topic"), err)
	}
	return d.acknowledged, err
}
