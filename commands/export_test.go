package commands

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
)

// FakeProducer makes a producer of a function.
type FakeProducer func(ctx context.Context, record *kgo.Record) (outcome.Position, error)

func (f FakeProducer) produce(ctx context.Context, record *kgo.Record) (outcome.Position, error) {
	return f(ctx, record)
}

func (f FakeProducer) close() {}

// NewOver returns a commander over fakes.
func NewOver[K, C any](config Config[K, C], producer FakeProducer, log follow.Log) (*Commander[K, C], error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return assemble(config, producer, log)
}

// ClassifyWrite makes the error of a failed write.
func ClassifyWrite(err error) error { return classifyWrite(err) }

var (
	// ParseBody, IdempotencyKey and Fingerprint are tested on their own.
	ParseBody = func(body []byte, maxDepth int) (status int, pointer string) {
		_, bad := parseBody(body, maxDepth)
		if bad == nil {
			return 0, ""
		}
		for _, member := range bad.members {
			pointer = member.Pointer
		}
		return bad.status, pointer
	}
	IdempotencyKey = idempotencyKey
	Fingerprint    = fingerprint
)
