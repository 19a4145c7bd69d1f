package bridge

import (
	"bytes"
	"time"

	"github.com/tidemill/tidemill/internal/store"
)

// begin has the changes of one more part queued from now on. The caller holds the part's feed.
func (w *ViewWatch) begin(part int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = part + 1
}

// snapshot returns the next rows of the snapshot, taking it first; nothing while a partition cannot be read.
func (w *ViewWatch) snapshot() ([]ViewEvent, viewUntil, error) {
	if w.scan == nil {
		if err := w.here(); err != nil || !w.open() {
			return nil, viewUntil{}, err
		}
	}
	var events []ViewEvent
	more := true
	for size := 0; size < viewChunkBytes && len(events) < viewChunkRows; {
		if more = w.scan.Next(); !more {
			break
		}
		change := &ViewChange{Offset: -1, Key: bytes.Clone(w.scan.Key()), Value: append([]byte{}, w.scan.Value()...)}
		size += change.size()
		events = append(events, ViewEvent{Kind: ViewRow, Change: change})
	}
	if err := w.scan.Finish(); err != nil {
		if w.ctx.Err() != nil {
			return nil, viewUntil{}, w.ctx.Err()
		}
		// Whatever it is, a copy that was rebuilt beneath the scan or a disk that failed: the view mends itself, and the
		// rows so far count for nothing.
		w.lose(-1)
		return nil, viewUntil{expired: time.After(viewStallInterval)}, nil
	}
	if !more {
		w.closeScan()
		w.phase = viewCatchingUp
		if len(events) == 0 {
			return w.take(), viewUntil{}, nil
		}
	}
	return events, viewUntil{}, nil
}

// open takes the snapshot: of each part the rows at a position, with the changes from there on queued. It reports false
// while a part cannot be read.
func (w *ViewWatch) open() bool {
	from, to := w.selection.Prefix, store.PrefixEnd(w.selection.Prefix)
	if w.selection.Key != nil {
		from, to = w.selection.Key, append(bytes.Clone(w.selection.Key), 0)
	}
	if w.selection.ChangesOnly {
		from, to = []byte{0}, []byte{0} // no row lies between
	}
	scan := &ViewScan{ctx: w.ctx}
	for i, number := range w.parts {
		cursor := w.cut(i, number, from, to)
		if cursor == nil {
			w.forget()
			scan.Close()
			return false
		}
		scan.cursors = append(scan.cursors, cursor)
	}
	w.scan = scan
	return true
}

// cut begins one part at its present position and returns the rows that it has there.
func (w *ViewWatch) cut(part int, number int32, from, to []byte) *viewCursor {
	p := w.view.partition(number)
	if p == nil {
		return nil
	}
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	epoch, engine := p.epoch.Load(), p.engine.Load()
	if engine == nil || !p.ready.Load() {
		return nil
	}
	checkpoint, found := engine.Checkpoint(w.view.config.Topic)
	if !found {
		return nil
	}
	w.topic = viewTopicIdentity(checkpoint.TopicID)
	w.positions[part] = p.feed.next.Load()
	w.begin(part)
	return &viewCursor{engine.Range(w.view.config.Name, from, to, false), p, epoch}
}

func (w *ViewWatch) closeScan() {
	if w.scan != nil {
		w.scan.Close()
		w.scan = nil
	}
}
