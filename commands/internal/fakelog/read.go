package fakelog

import (
	"context"
	"errors"
	"maps"

	"github.com/tidemill/tidemill/commands/internal/follow"
)

var _ follow.Log = (*Log)(nil)

// Topics implements follow.Log.
func (l *Log) Topics(_ context.Context, names []string) (map[string]follow.Topic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, ErrDown
	}
	topics := map[string]follow.Topic{}
	for _, name := range names {
		if t := l.topics[name]; t != nil {
			topics[name] = follow.Topic{ID: t.id, Partitions: int32(len(t.partitions))}
		}
	}
	return topics, nil
}

// Offsets implements follow.Log.
func (l *Log) Offsets(_ context.Context, at follow.Bound, topics map[string]follow.Topic) (follow.Positions, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, ErrDown
	}
	positions := follow.Positions{}
	for name := range topics {
		for i, p := range l.topics[name].partitions {
			offset := int64(len(p.records))
			if at.IsStart() {
				offset = p.start
			} else if milliseconds, ok := at.Time(); ok {
				for o := p.start; o < int64(len(p.records)); o++ {
					if !p.records[o].Control && p.records[o].Timestamp >= milliseconds {
						offset = o
						break
					}
				}
			}
			positions[follow.Partition{Topic: name, Partition: int32(i)}] = offset
		}
	}
	return positions, nil
}

// Newest implements follow.Log.
func (l *Log) Newest(_ context.Context, name string, _ follow.Topic) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return 0, false, ErrDown
	}
	newest, found := int64(0), false
	for _, p := range l.topics[name].partitions {
		for _, r := range p.records[p.start:] {
			if !r.Control {
				newest, found = max(newest, r.Timestamp), true
			}
		}
	}
	return newest, found, nil
}

// Committed implements follow.Log.
func (l *Log) Committed(_ context.Context, group, topic string) (map[int32]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, ErrDown
	}
	offsets := map[int32]int64{}
	for at, offset := range l.groups[group] {
		if at.Topic == topic {
			offsets[at.Partition] = offset
		}
	}
	return offsets, nil
}

// Open implements follow.Log.
func (l *Log) Open(start follow.Positions) (follow.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, ErrDown
	}
	ids := map[string][16]byte{}
	for at := range start {
		ids[at.Topic] = l.topics[at.Topic].id
	}
	return &reader{log: l, next: maps.Clone(start), ids: ids}, nil
}

type reader struct {
	log  *Log
	next follow.Positions
	ids  map[string][16]byte
}

// Close implements follow.Reader.
func (r *reader) Close() {}

// Poll implements follow.Reader.
func (r *reader) Poll(ctx context.Context, records []follow.Record) ([]follow.Record, error) {
	for {
		r.log.mu.Lock()
		found, err := r.take(records)
		changed := r.log.changed
		r.log.mu.Unlock()
		if err != nil || len(found) > len(records) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return records, ctx.Err()
		case <-changed:
		}
	}
}

// take is called with the log's mu held. It gives each partition by itself now and then, as fetches do.
func (r *reader) take(records []follow.Record) ([]follow.Record, error) {
	if r.log.down {
		return records, ErrDown
	}
	for at, next := range r.next {
		t := r.log.topics[at.Topic]
		if t.id != r.ids[at.Topic] {
			return records, errors.New("fakelog: the topic was created anew")
		}
		p := t.partitions[at.Partition]
		if next < p.start {
			return records, errors.New("fakelog: offset out of range")
		}
		had := len(records)
		for stable := p.stable(); next < stable; next++ {
			if rec := p.records[next]; rec.Control || rec.txn == nil || rec.txn.state == committed {
				records = append(records, rec.Record)
			}
		}
		r.next[at] = next
		if len(records) > had {
			return records, nil // one partition at a time: the order of partitions is nobody's promise
		}
	}
	return records, nil
}
