package broker_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStockTools runs Kafka 4.3's own command line tools against the embedded
// broker: each must end well and say what it says of a real one.
func TestStockTools(t *testing.T) {
	classPath := filepath.Join(kafkatest.Libs(t), "*")
	b := start(t, broker.Options{Dir: t.TempDir()})
	kt := kafkatest.At(b.Addr())
	tool := func(input, class string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		java := append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classPath, class, "--bootstrap-server", b.Addr()}, args...)
		cmd := exec.CommandContext(ctx, "java", java...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "Exception") {
			t.Errorf("%s %s: %v\n%s", class, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	want := func(what, text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("%s: %q is missing in:\n%s", what, p, text)
			}
		}
	}
	const topics, groups = "org.apache.kafka.tools.TopicCommand", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	tool("", topics, "--create", "--topic", "calculator-events", "--partitions", "4", "--config", "retention.ms=-1")
	want("list", tool("", topics, "--list"), "calculator-events")
	want("describe", tool("", topics, "--describe", "--topic", "calculator-events"), "PartitionCount: 4", "retention.ms=-1", "Partition: 3", "Leader: 0")
	tool("", "kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "calculator-events", "--add-config", "cleanup.policy=[compact,delete]")
	want("config", tool("", "kafka.admin.ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", "calculator-events"), "cleanup.policy=compact,delete")

	tool("a:1\nb:2\nvärde:3\n", "org.apache.kafka.tools.ConsoleProducer", "--topic", "calculator-events",
		"--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
	for _, r := range kt.ReadAll(t, "calculator-events", true) {
		if want := partition.ForKey(r.Key, 4); r.Partition != want {
			t.Errorf("Java put key %s into partition %d, we into %d", r.Key, r.Partition, want)
		}
	}
	for id, commit := range map[string]bool{"done": true, "undone": false} {
		p := newProducer(t, b.Addr(), id)
		ok(t, p.Begin())
		ok(t, p.Produce(&kgo.Record{Topic: "calculator-events", Key: []byte("c"), Value: []byte(id)}))
		_, err := p.End(t.Context(), commit)
		ok(t, err)
	}
	got := tool("", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", "calculator-events", "--from-beginning", "--group", "readers",
		"--isolation-level", "read_committed", "--max-messages", "4", "--timeout-ms", "20000", "--formatter-property", "print.key=true")
	want("consumer", got, "a\t1", "b\t2", "värde\t3", "c\tdone")
	if strings.Contains(got, "undone") {
		t.Errorf("the consumer shows what was aborted:\n%s", got)
	}
	want("groups", tool("", groups, "--list"), "readers")
	want("group", tool("", groups, "--describe", "--group", "readers"), "calculator-events", "LAG")
	want("reset", tool("", groups, "--reset-offsets", "--group", "new-readers", "--topic", "calculator-events", "--to-earliest", "--execute"), "new-readers", "calculator-events")
	want("offsets", tool("", "org.apache.kafka.tools.GetOffsetShell", "--topic", "calculator-events"), "calculator-events:0:", "calculator-events:3:")
	open := newProducer(t, b.Addr(), "still-open")
	ok(t, open.Begin())
	ok(t, open.Produce(&kgo.Record{Topic: "calculator-events", Key: []byte("c"), Value: []byte("x")}))
	ok(t, open.Flush(t.Context()))
	want("transactions", tool("", "org.apache.kafka.tools.TransactionsCommand", "list"), "still-open", "Ongoing")
	if o, err := open.End(t.Context(), true); o != log.Committed {
		t.Error(o, err)
	}
	want("versions", tool("", "org.apache.kafka.tools.BrokerApiVersionsCommand"), "Produce(0)")
	tool("", topics, "--delete", "--topic", "calculator-events")
	if left := tool("", topics, "--list"); strings.Contains(left, "calculator-events") {
		t.Errorf("the deleted topic is listed:\n%s", left)
	}
}
