package bridge

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/log"
)

// requirement is a version of a request that we cannot do without.
type requirement struct {
	key     kmsg.Key
	version int16
	since   string
}

// The least versions of requests. A broker offers all of its versions to all.
var (
	requiredAlways = []requirement{
		{kmsg.JoinGroup, 5, "static membership needs Kafka 2.3 (KIP-345)"},
		{kmsg.OffsetCommit, 7, "static membership needs Kafka 2.3 (KIP-345)"},
	}
	requiredExactlyOnce = []requirement{
		{kmsg.TxnOffsetCommit, 3, "exactly once needs Kafka 2.5 (KIP-447)"},
		{kmsg.OffsetFetch, 7, "exactly once needs Kafka 2.5 (KIP-447)"},
	}
)

// checkBroker refuses brokers that lack what the guarantee rests on (rule 11), rather than to fail at the first commit.
func (p *Processor) checkBroker(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.Log.WithDefaults().RequestTimeout)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "tidemill", "1"
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil {
		return log.Explain("asking the broker what it can do", err)
	}
	offered := map[int16]int16{}
	for _, api := range resp.ApiKeys {
		offered[api.ApiKey] = api.MaxVersion
	}
	required := requiredAlways
	if p.config.Guarantee == ExactlyOnce {
		required = append(required[:len(required):len(required)], requiredExactlyOnce...)
	}
	for _, r := range required {
		if offered[int16(r.key)] < r.version {
			return fmt.Errorf("%w: %s, which has %s version %d; this one has %d at most", log.ErrBrokerTooOld, r.since, r.key.Name(), r.version, offered[int16(r.key)])
		}
	}
	return nil
}
