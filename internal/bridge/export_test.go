package bridge

import "github.com/twmb/franz-go/pkg/kgo"

// AddProducerOptions lets a test stand between the producers and their connections.
func (p *Processor) AddProducerOptions(options ...kgo.Opt) {
	p.producerOptions = append(p.producerOptions, options...)
}

// RestartFeed has a partition's feed begin anew at an earlier position, as a session does that goes on there, in the moment
// before its watches are told.
func (v *View) RestartFeed(number int32, position int64) {
	feed := v.partition(number).feed
	feed.mu.Lock()
	defer feed.mu.Unlock()
	feed.restart(position)
}
