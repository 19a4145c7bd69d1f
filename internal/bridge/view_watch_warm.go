package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	viewWarmOffsets = 50_000           // how far back of the floor the log is read for those who reconnect
	viewWarmBytes   = 32 << 20         // and how much of it, before what is read counts as too much
	viewWarmTimeout = 10 * time.Second // and for how long
)

// warm reads from the log what came before the changes that are known, once for all who reconnect after a restart. It
// reports whether there may be more known now. A log that was compacted since still has the latest change of each row,
// but may have let go of deletions: level says since when the client has been without them.
func (p *viewPartition) warm(ctx context.Context, level int64) bool {
	session := p.view.session.Load()
	if session == nil || p.view.config.Now().Sub(time.Unix(level, 0)) > session.maxAge {
		return false
	}
	p.feed.warming.Lock()
	defer p.feed.warming.Unlock()
	p.feed.mu.Lock()
	floor, warmed := p.feed.floor, p.feed.warmed
	p.feed.mu.Unlock()
	if warmed {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, viewWarmTimeout)
	defer cancel()
	older, from, err := session.before(ctx, p.number, floor, p.feed.limit)
	if err != nil {
		if ctx.Err() == nil {
			p.view.log.Debug("what came before cannot be read for those who reconnect", "partition", p.number, "error", err)
		}
		return false
	}
	p.feed.precede(older, from, floor)
	return true
}

// before returns the latest changes below an offset, up to a number of bytes, and the offset from which they are complete.
func (s *viewSession) before(ctx context.Context, number int32, floor int64, limit int) (changes []*ViewChange, from int64, err error) {
	starts, err := viewOffsets(ctx, s.client, s.view.config.Topic, []int32{number}, viewOldest, viewReadUncommitted)
	if err != nil {
		return nil, 0, err
	}
	from = max(starts[number], floor-viewWarmOffsets)
	place, err := s.changelog(number)
	if err != nil {
		return nil, 0, err
	}
	size, read, idle := 0, 0, 0
	for next := from; next < floor; {
		records, following, err := viewRead(ctx, s.client, place, next)
		if err != nil {
			return nil, 0, err
		}
		if following == next {
			if idle++; idle > 3 {
				return nil, 0, fmt.Errorf("the broker has nothing at offset %d of partition %d, below %d", next, number, floor)
			}
			continue
		}
		next, idle = following, 0
		for _, record := range records {
			if record.Offset >= floor || record.Attrs.IsControl() || record.Key == nil {
				continue
			}
			change := newViewChange(record)
			changes = append(changes, change)
			size += change.size()
			read += change.size()
		}
		for size > limit && len(changes) > 0 {
			size -= changes[0].size()
			from = changes[0].Offset + 1
			changes = changes[1:]
		}
		if read > viewWarmBytes {
			return nil, 0, errors.New("it is too much to read")
		}
	}
	return changes, from, nil
}
