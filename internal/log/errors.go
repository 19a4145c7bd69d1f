// Package log is the one place that talks to the log's brokers outside of
// goka's consumer groups: it builds every franz-go client from one
// configuration, administers topics, groups and transactions, and produces, with
// transactions and without.
//
// The log is Kafka 2.5 or later, or the embedded broker. On brokers without
// KIP-890 (transaction.version below 2) transactions take one request more.
//
// Every call has a deadline: the context's, or Config.RequestTimeout if that is
// sooner. Errors to test for with errors.Is are the sentinels below; their text
// says what was being done and, where it can, what to do about it.
package log

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/settle"
)

var (
	// ErrConfig is wrapped round everything that Config.Validate finds.
	ErrConfig = errors.New("configuration of the log")
	// ErrTopicMissing is returned where a topic is needed and not there.
	ErrTopicMissing = errors.New("topic missing")
	// ErrPartitionMismatch is returned where a topic has another number of
	// partitions than is wanted.
	ErrPartitionMismatch = errors.New("wrong number of partitions")
	// ErrTopicConfig is returned where a topic's settings are not those wanted.
	ErrTopicConfig = errors.New("wrong topic settings")
	// ErrBrokerTooOld is returned where the broker lacks what is needed.
	ErrBrokerTooOld = errors.New("broker too old")
	// ErrUnauthorized is returned where the broker does not let us in, or not to this.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnreachable is returned where no broker answered in time. The request
	// may have been carried out.
	ErrUnreachable = errors.New("broker unreachable")
	// ErrProducerFenced is returned where another producer has taken over the
	// transactional id, or the coordinator has aborted its transaction by
	// time-out. The producer must be initialised again before it goes on.
	ErrProducerFenced = settle.ErrFenced
	// ErrMemberFenced is returned where the group has gone on to another
	// generation, or does not know the member: the work must be dropped and the
	// group joined again.
	ErrMemberFenced = errors.New("group member fenced")
	// ErrInstanceFenced is returned where another process has joined with the
	// same group instance id. Two processes run as one instance: the
	// configuration must be corrected.
	ErrInstanceFenced = errors.New("group instance fenced")
	// ErrGroupActive is returned where a group must have no members for what was
	// asked, and has some.
	ErrGroupActive = errors.New("group has members")
)

// classes says which sentinel an error of the broker belongs to.
var classes = []struct {
	sentinel error
	codes    []*kerr.Error
}{
	{ErrTopicMissing, []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID}},
	{ErrBrokerTooOld, []*kerr.Error{kerr.UnsupportedVersion}},
	{ErrUnauthorized, []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
	}},
	{ErrProducerFenced, []*kerr.Error{
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidProducerIDMapping,
		kerr.InvalidTxnState, // its transaction is not open any more: somebody else ended it
	}},
	{ErrMemberFenced, []*kerr.Error{
		kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.StaleMemberEpoch, kerr.GroupIDNotFound,
	}},
	{ErrInstanceFenced, []*kerr.Error{kerr.FencedInstanceID}},
	{ErrGroupActive, []*kerr.Error{kerr.NonEmptyGroup}},
}

// Explain says what was being done when a request of a caller's own failed, and wraps the sentinel that fits.
func Explain(doing string, err error) error { return explain(doing, err) }

// explain says what was being done and wraps the sentinel that fits.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	sentinel := classify(err)
	if sentinel == nil || errors.Is(err, sentinel) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, sentinel, err)
}

func classify(err error) error {
	for _, c := range classes {
		if errors.Is(err, c.sentinel) {
			return c.sentinel
		}
		for _, code := range c.codes {
			if errors.Is(err, code) {
				return c.sentinel
			}
		}
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		// A broker that wants TLS or SASL hangs up on who comes without, but so does one that is about to stop, and a load
		// balancer in front of one that is away. The text names TLS; ending for good would be wrong for the others.
		return ErrUnreachable
	}
	text := err.Error()
	if strings.Contains(text, "broker is too old") || strings.Contains(text, "request key is unknown") {
		return ErrBrokerTooOld
	}
	if strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ") || strings.Contains(text, "tls alert") {
		return ErrUnauthorized
	}
	if _, ok := errors.AsType[*kerr.Error](err); ok {
		return nil
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, context.DeadlineExceeded) || kgo.IsRetryableBrokerErr(err) {
		return ErrUnreachable
	}
	return nil
}

// code is kerr.ErrorForCode with the broker's own words.
func code(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil || *message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, *message)
}
