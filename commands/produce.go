package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/log"
)

// grace is how much longer than the producer's own deadline is waited for it to say so.
const grace = time.Second

// closeTimeout bounds how long what is still buffered may take at the end: whoever sent it has been answered by then.
const closeTimeout = time.Second / 2

// Bounds of what waits to be acknowledged by the log.
const (
	maxBufferedRecords = 16384
	maxBufferedBytes   = 64 << 20
)

// producer writes commands. A failed write is a *writeError.
type producer interface {
	produce(ctx context.Context, record *kgo.Record) (outcome.Position, error)
	close()
}

// writeError tells whether the record may be in the log all the same.
type writeError struct {
	cause    error
	unknown  bool // it may be there
	tooLarge bool
}

// Error returns the cause.
func (e *writeError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *writeError) Unwrap() error { return e.cause }

// kafkaProducer is the idempotent producer of franz-go: all in-sync replicas acknowledge, and nothing lingers; a batch
// grows while the one before it is on its way.
type kafkaProducer struct {
	client  *kgo.Client
	timeout time.Duration
}

func newKafkaProducer(cluster Cluster, timeout time.Duration) (*kafkaProducer, error) {
	opts, err := cluster.ClientOptions()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(timeout),
		kgo.ProduceRequestTimeout(timeout),
		kgo.MaxBufferedRecords(maxBufferedRecords),
		kgo.MaxBufferedBytes(maxBufferedBytes),
		kgo.RecordPartitioner(log.Partitioner()),
	)...)
	if err != nil {
		return nil, fmt.Errorf("configuring the producer of commands: %w", err)
	}
	return &kafkaProducer{client: client, timeout: timeout}, nil
}

// produce writes one record. When ctx is done first the record goes its way: it is not taken back, since a record that
// fails in the client's buffer takes all behind it in its partition along.
func (p *kafkaProducer) produce(ctx context.Context, record *kgo.Record) (outcome.Position, error) {
	result := make(chan error, 1)
	p.client.TryProduce(context.WithoutCancel(ctx), record, func(_ *kgo.Record, err error) { result <- err })
	timer := time.NewTimer(p.timeout + grace)
	defer timer.Stop()
	select {
	case err := <-result:
		if err != nil {
			return outcome.Position{}, classifyWrite(err)
		}
		return outcome.Position{Topic: record.Topic, Partition: record.Partition, Offset: record.Offset}, nil
	case <-ctx.Done():
		return outcome.Position{}, &writeError{cause: ctx.Err(), unknown: true}
	case <-timer.C:
		return outcome.Position{}, &writeError{cause: kgo.ErrRecordTimeout, unknown: true}
	}
}

func (p *kafkaProducer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = p.client.Flush(ctx) // whoever waited for what is left was told so
	p.client.Close()
}

// notWritten are the errors after which franz-go, or the broker, holds that the record is not in the log. The client
// gives up on a record (timeout, retries) only while no request with it is unanswered.
var notWritten = []error{
	kgo.ErrMaxBuffered, kgo.ErrRecordTimeout, kgo.ErrRecordRetries,
	kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException, kerr.TopicAuthorizationFailed,
	kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.NotEnoughReplicas, kerr.InvalidTimestamp,
	kerr.InvalidRecord, kerr.PolicyViolation, kerr.MessageTooLarge, kerr.RecordListTooLarge,
}

func classifyWrite(err error) *writeError {
	failed := &writeError{cause: err, unknown: true}
	for _, known := range notWritten {
		if errors.Is(err, known) {
			failed.unknown = false
		}
	}
	failed.tooLarge = errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
	return failed
}
