// Package kafka says how to reach the brokers: the one configuration that processors, views, commanders and subscriptions
// share.
package kafka

import "github.com/tidemill/tidemill/internal/log"

type (
	// Config says how to reach the brokers. Config.Validate reports everything that is wrong at once.
	Config = log.Config
	// TLS says how connections are encrypted.
	TLS = log.TLS
	// SASL says who we are.
	SASL = log.SASL
)

// The SASL mechanisms, as Kafka names them.
const (
	Plain       = log.Plain
	ScramSHA256 = log.ScramSHA256
	ScramSHA512 = log.ScramSHA512
)

// The errors of talking to the brokers that a user can act on; test for them with errors.Is.
var (
	ErrTopicMissing      = log.ErrTopicMissing
	ErrPartitionMismatch = log.ErrPartitionMismatch
	ErrTopicConfig       = log.ErrTopicConfig
	ErrBrokerTooOld      = log.ErrBrokerTooOld
	ErrUnauthorized      = log.ErrUnauthorized
	ErrUnreachable       = log.ErrUnreachable
)
