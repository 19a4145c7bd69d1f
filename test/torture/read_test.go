package torture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/test/torture/history"
)

const changelog = "calculator-values-changelog"

// reader reads the topics by itself: it shares nothing with the code under test but the client library.
type reader struct {
	client *kgo.Client
	admin  *kadm.Client
}

func newReader(brokers string) (*reader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.MetadataMinAge(100*ms))
	if err != nil {
		return nil, err
	}
	return &reader{client: client, admin: kadm.NewClient(client)}, nil
}

// awaitLevel waits until the processor has decided on every command.
func (r *reader) awaitLevel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var behind string
	for ctx.Err() == nil {
		ends, err := r.ends(ctx, calculator.Commands.Name(), 0)
		if err == nil {
			behind, err = r.behind(ctx, ends)
		}
		if err == nil && behind == "" {
			return nil
		}
		time.Sleep(20 * ms)
	}
	return fmt.Errorf("stuck: not every command is decided %s after the faults are over: %s", patience, behind)
}

// behind tells where the group is not at the end.
func (r *reader) behind(ctx context.Context, ends map[int32]int64) (string, error) {
	committed, err := r.admin.FetchOffsets(ctx, calculator.Group)
	if err != nil {
		return "", err
	}
	var behind []string
	for partition, end := range ends {
		at, ok := committed.Lookup(calculator.Commands.Name(), partition)
		if end > 0 && (!ok || at.At != end) {
			behind = append(behind, fmt.Sprintf("partition %d is at %d of %d", partition, at.At, end))
		}
	}
	return strings.Join(behind, ", "), nil
}

// ends returns how far a topic's partitions are readable; isolation 0 counts what is not committed too.
func (r *reader) ends(ctx context.Context, topic string, isolation int8) (map[int32]int64, error) {
	list := r.admin.ListEndOffsets
	if isolation == 1 {
		list = r.admin.ListCommittedOffsets
	}
	listed, err := list(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// topics reads everything.
func (r *reader) topics(ctx context.Context, brokers string) (found history.Topics, err error) {
	for topic, into := range map[string]*history.Topic{
		calculator.Commands.Name(): &found.Commands, calculator.Events.Name(): &found.Events, calculator.Rejections.Name(): &found.Rejections,
		calculator.DeadLetters: &found.DeadLetters, changelog: &found.Changelog,
	} {
		if *into, err = r.topic(ctx, brokers, topic); err != nil {
			return found, err
		}
	}
	return found, nil
}

// topic returns what a read_committed consumer sees of a topic.
func (r *reader) topic(ctx context.Context, brokers, topic string) (history.Topic, error) {
	ends, err := r.ends(ctx, topic, 1)
	if err != nil {
		return nil, fmt.Errorf("asking for the end of %s: %w", topic, err)
	}
	from := map[int32]kgo.Offset{}
	for partition, end := range ends {
		if end > 0 {
			from[partition] = kgo.NewOffset().AtStart()
		}
	}
	read := history.Topic{}
	if len(from) == 0 {
		return read, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	at, last := map[int32]int64{}, time.Now()
	for short(at, ends) {
		polling, cancel := context.WithTimeout(ctx, time.Second)
		fetches := client.PollFetches(polling)
		cancel()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading %s up to %v, at %v: %w", topic, ends, at, ctx.Err())
		}
		fetches.EachRecord(func(record *kgo.Record) {
			last, at[record.Partition] = time.Now(), record.Offset+1
			if !record.Attrs.IsControl() {
				read[record.Partition] = append(read[record.Partition], record)
			}
		})
		// The last records of a partition may be of an aborted transaction, which a client does not see.
		if time.Since(last) > 4*time.Second {
			break
		}
	}
	return read, nil
}

func short(at, ends map[int32]int64) bool {
	for partition, end := range ends {
		if at[partition] < end {
			return true
		}
	}
	return false
}

// endsWithin is how long a transaction may stay open once nothing is left to process: a session that has just ended, because
// another instance took over, aborts its own when it begins anew, and the broker does after the time-out, which is the session's.
const endsWithin = 20 * time.Second

// stayOpen tells which transactions are open and not ended soon.
func (r *reader) stayOpen(ctx context.Context) (found []string, err error) {
	for deadline := time.Now().Add(endsWithin); ; {
		if found, err = r.open(ctx); err != nil || len(found) == 0 || time.Now().After(deadline) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// open tells which transactions are open, and which partitions have records that nobody may read yet.
func (r *reader) open(ctx context.Context) (found []string, err error) {
	request := kmsg.NewPtrListTransactionsRequest()
	for _, shard := range r.client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, fmt.Errorf("asking for transactions: %w", shard.Err)
		}
		response, ok := shard.Resp.(*kmsg.ListTransactionsResponse)
		if !ok {
			return nil, fmt.Errorf("the answer is a %T", shard.Resp)
		}
		if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
			return nil, err
		}
		for _, transaction := range response.TransactionStates {
			if slices.Contains([]string{"Ongoing", "PrepareCommit", "PrepareAbort"}, transaction.TransactionState) {
				found = append(found, transaction.TransactionalID+" is "+transaction.TransactionState)
			}
		}
	}
	for _, topic := range []string{calculator.Events.Name(), calculator.Rejections.Name(), calculator.DeadLetters, changelog} {
		all, err := r.ends(ctx, topic, 0)
		if err != nil {
			return nil, err
		}
		stable, err := r.ends(ctx, topic, 1)
		if err != nil {
			return nil, err
		}
		for partition, end := range all {
			if stable[partition] < end {
				found = append(found, fmt.Sprintf("%s/%d is stable up to %d of %d", topic, partition, stable[partition], end))
			}
		}
	}
	return found, nil
}
