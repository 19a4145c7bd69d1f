package bridge

import (
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"

	"github.com/tidemill/tidemill/internal/log"
)

// TestSaramaConfig holds every setting by which sarama or goka would lose data or time if it were left to its default.
func TestSaramaConfig(t *testing.T) {
	timeouts := Timeouts{Session: 7 * time.Second, Heartbeat: 500 * time.Millisecond, Rebalance: 20 * time.Second}
	config := log.Config{Brokers: []string{"localhost:9092"}, ClientID: "me"}.WithDefaults()
	c, err := saramaConfig(config, "one", timeouts, newConnections(time.Second), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"the protocol has static membership, stable offsets and generations": c.Version.IsAtLeast(sarama.V3_2_0_0),
		"only committed records are read":                                    c.Consumer.IsolationLevel == sarama.ReadCommitted,
		"a new group begins at the beginning":                                c.Consumer.Offsets.Initial == sarama.OffsetOldest,
		"an offset out of range is no reset":                                 !c.Consumer.Group.ResetInvalidOffsets,
		"sarama commits nothing":                                             !c.Consumer.Offsets.AutoCommit.Enable,
		"the member is static":                                               c.Consumer.Group.InstanceId == "one",
		"session time-out":                                                   c.Consumer.Group.Session.Timeout == timeouts.Session,
		"heartbeats":                                                         c.Consumer.Group.Heartbeat.Interval == timeouts.Heartbeat,
		"rebalance time-out":                                                 c.Consumer.Group.Rebalance.Timeout == timeouts.Rebalance,
		"rejoining takes no 2 s":                                             c.Consumer.Group.Rebalance.Retry.Backoff <= 100*time.Millisecond && c.Consumer.Group.Rebalance.Retry.Max >= 10,
		"fetching again takes no 2 s":                                        c.Consumer.Retry.Backoff <= 100*time.Millisecond,
		"it fetches again for ever":                                          c.Consumer.Retry.Max == 0,
		"topics are co-partitioned":                                          len(c.Consumer.Group.Rebalance.GroupStrategies) == 1 && c.Consumer.Group.Rebalance.GroupStrategies[0].Name() == goka.CopartitioningStrategy.Name(),
		"errors are returned":                                                c.Consumer.Return.Errors,
		"no topic comes into being by being asked for":                       !c.Metadata.AllowAutoTopicCreation,
		"undecided offsets are waited for":                                   time.Duration(c.Metadata.Retry.Max)*c.Metadata.Retry.Backoff >= 200*time.Millisecond,
		"the answer to a join may take a rebalance":                          c.Net.ReadTimeout > timeouts.Rebalance,
		"client id":                      c.ClientID == "me",
		"no encryption unless asked for": !c.Net.TLS.Enable && !c.Net.SASL.Enable,
	} {
		if !ok {
			t.Errorf("not so: %s", name)
		}
	}
}

// TestSaramaSecurity: the group's client gets in as every other client does.
func TestSaramaSecurity(t *testing.T) {
	for mechanism, want := range map[string]sarama.SASLMechanism{
		log.Plain: sarama.SASLTypePlaintext, log.ScramSHA256: sarama.SASLTypeSCRAMSHA256, log.ScramSHA512: sarama.SASLTypeSCRAMSHA512,
	} {
		config := log.Config{
			Brokers: []string{"localhost:9092"}, TLS: log.TLS{Enabled: true, ServerName: "kafka"},
			SASL: log.SASL{Mechanism: mechanism, User: "u", Password: "p"},
		}.WithDefaults()
		c, err := saramaConfig(config, "one", Timeouts{Session: 3 * time.Second, Heartbeat: time.Second, Rebalance: 3 * time.Second}, newConnections(time.Second), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if c.Net.SASL.Mechanism != want || c.Net.SASL.User != "u" || c.Net.SASL.Password != "p" || !c.Net.SASL.Enable {
			t.Errorf("%s: SASL is %+v", mechanism, c.Net.SASL)
		}
		if (c.Net.SASL.SCRAMClientGeneratorFunc != nil) != (mechanism != log.Plain) {
			t.Errorf("%s: a generator of SCRAM clients: %t", mechanism, c.Net.SASL.SCRAMClientGeneratorFunc != nil)
		}
		if !c.Net.TLS.Enable || c.Net.TLS.Config.ServerName != "kafka" {
			t.Errorf("%s: TLS is %+v", mechanism, c.Net.TLS)
		}
	}
	config := log.Config{Brokers: []string{"localhost:9092"}, TLS: log.TLS{Enabled: true, CAFile: "/nowhere/ca.pem"}}
	if _, err := saramaConfig(config, "one", Timeouts{Session: 3 * time.Second, Heartbeat: time.Second, Rebalance: 3 * time.Second}, newConnections(time.Second), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a certificate authority that is not there was accepted")
	}
}
