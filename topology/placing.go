package topology

import "github.com/tidemill/tidemill/codecs"

// placing tells what decides the partition of encoded keys. It belongs to one task.
type placing[K any] struct {
	partitioner codecs.Partitioner // nil: the whole key
	scratch     []byte
}

func newPlacing[K any](key codec[K]) placing[K] {
	return placing[K]{partitioner: codecs.PartitionerOf(key)}
}

// key returns the bytes of which murmur2 is the partition: the encoded key, or what stands in for it until the next call.
func (p *placing[K]) key(encoded []byte) []byte {
	if p.partitioner == nil {
		return encoded
	}
	p.scratch = codecs.AppendPartitionKey(p.partitioner, p.scratch[:0], encoded)
	return p.scratch
}
