package bridge

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/xdg-go/scram"

	"github.com/tidemill/tidemill/internal/log"
)

// Timeouts of the consumer group.
type Timeouts struct {
	// Session is after how long without a heartbeat an instance's partitions go to others.
	Session time.Duration
	// Heartbeat is how often an instance reports, and so how soon it learns of a rebalance.
	Heartbeat time.Duration
	// Rebalance bounds how long a rebalance waits for an instance.
	Rebalance time.Duration
}

// saramaVersion is the protocol that sarama speaks. What it must have: static membership (2.3), stable offsets (2.5), the
// generation in the subscription (3.2).
var saramaVersion = sarama.V3_6_0_0

// saramaConfig sets everything that matters here explicitly: sarama's and goka's defaults lose data or time (docs/adr/0002).
func saramaConfig(config log.Config, instanceID string, timeouts Timeouts, dialer *connections, logger *slog.Logger) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = config.ClientID
	c.Version = saramaVersion
	c.ApiVersionsRequest = true

	c.Consumer.IsolationLevel = sarama.ReadCommitted
	c.Consumer.Offsets.Initial = sarama.OffsetOldest // a new group begins at the beginning
	c.Consumer.Offsets.AutoCommit.Enable = false     // package commit does it
	c.Consumer.Offsets.Retry.Max = 0
	c.Consumer.Group.ResetInvalidOffsets = false // an offset out of range is an error, never a reset
	c.Consumer.Group.InstanceId = instanceID
	c.Consumer.Group.Session.Timeout = timeouts.Session
	c.Consumer.Group.Heartbeat.Interval = timeouts.Heartbeat
	c.Consumer.Group.Rebalance.Timeout = timeouts.Rebalance
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{coPartitioned{goka.CopartitioningStrategy, logger}}
	c.Consumer.Group.Rebalance.Retry.Max = 20
	c.Consumer.Group.Rebalance.Retry.Backoff = 50 * time.Millisecond
	c.Consumer.Return.Errors = true
	c.Consumer.Retry.Backoff = 100 * time.Millisecond
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.MaxProcessingTime = 200 * time.Millisecond
	c.Consumer.Fetch.Default = 256 << 10 // of each partition, compressed: what is decoded of it waits in memory
	c.ChannelBufferSize = 256

	c.Metadata.Retry.Max = 5
	c.Metadata.Retry.Backoff = 50 * time.Millisecond
	c.Metadata.RefreshFrequency = time.Minute
	c.Metadata.AllowAutoTopicCreation = false

	c.Net.DialTimeout = config.DialTimeout
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, dialer
	c.Net.ReadTimeout = config.RequestTimeout + timeouts.Rebalance // JoinGroup is answered at the end of a rebalance
	c.Net.WriteTimeout = config.RequestTimeout
	if err := saramaSecurity(c, config); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuring the consumer: %w", err)
	}
	return c, nil
}

// saramaSecurity sets TLS and SASL as they are set for every other client.
func saramaSecurity(c *sarama.Config, config log.Config) error {
	tlsConfig, err := config.TLSConfig()
	if err != nil {
		return fmt.Errorf("configuring the consumer: %w", err)
	}
	c.Net.TLS.Enable, c.Net.TLS.Config = tlsConfig != nil, tlsConfig
	if config.SASL.Mechanism == "" {
		return nil
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.Handshake = true
	c.Net.SASL.Version = sarama.SASLHandshakeV1
	c.Net.SASL.User, c.Net.SASL.Password = config.SASL.User, config.SASL.Password
	switch config.SASL.Mechanism {
	case log.Plain:
		c.Net.SASL.Mechanism = sarama.SASLTypePlaintext
	case log.ScramSHA256:
		c.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
		c.Net.SASL.SCRAMClientGeneratorFunc = newScramClient(scram.SHA256)
	case log.ScramSHA512:
		c.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA512
		c.Net.SASL.SCRAMClientGeneratorFunc = newScramClient(scram.SHA512)
	}
	return nil
}
