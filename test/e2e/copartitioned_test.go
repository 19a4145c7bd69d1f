package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/apps/calculator"
)

// TestCheckFindsPartitionsThatWereAdded: the check compares a changelog with its source, and so does the start of a processor.
func TestCheckFindsPartitionsThatWereAdded(t *testing.T) {
	brokers, _ := launchBroker(t)
	if _, stderr, code := run(t, "topics", "create", "calculator", "--brokers", brokers); code != 0 {
		t.Fatalf("creating the topics ended with %d: %s", code, stderr)
	}
	commands, count := calculator.Commands.Name(), int32(6)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = commands, count
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.Topics, request.TimeoutMillis = append(request.Topics, topic), 5000
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := request.RequestWith(ctx, client)
	if err != nil || answer.Topics[0].ErrorCode != 0 {
		t.Fatalf("adding partitions: %v %+v", err, answer)
	}
	for _, args := range [][]string{
		{"topics", "check", "calculator", "--brokers", brokers},
		{"calculator", "processor", "--brokers", brokers, "--data", dataDir(t), "--admin-addr", "127.0.0.1:0"},
	} {
		_, stderr, code := run(t, args...)
		if code != 4 {
			t.Errorf("%v ended with %d, want 4", args, code)
		}
		for _, want := range []string{"calculator-values-changelog has 4 partitions, 6 are wanted", "its source " + commands, "'tidemill reset calculator'"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v does not say %q: %s", args, want, stderr)
			}
		}
	}
}
