package bridge

import "github.com/twmb/franz-go/pkg/kgo"

// AddProducerOptions lets a test stand between the producers and their connections.
func (p *Processor) AddProducerOptions(options ...kgo.Opt) {
	p.producerOptions = append(p.producerOptions, options...)
}
