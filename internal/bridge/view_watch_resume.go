package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"
)

// ErrViewPosition says that a position to resume from is malformed or belongs to another watch.
var ErrViewPosition = errors.New("not a position of this watch")

// viewSnapshotID is the id of what is told before there is a position to go on from: a client that comes back with it
// has told apart nothing, and begins anew.
const viewSnapshotID = "snapshot"

// viewResumeVersion is the first byte of a position: version, identities of topic and selection, seconds, offsets.
const viewResumeVersion = 1

// maxViewResume bounds the text of a position.
const maxViewResume = 16 << 10

// viewResume is where a client stood, as its id says.
type viewResume struct {
	topic     uint32
	level     int64 // when the view that told it was level with the log, in seconds since the epoch
	positions []int64
	vague     bool // it was told rows, but no position
}

// viewTopicIdentity tells one incarnation of a topic from another.
func viewTopicIdentity(id [16]byte) uint32 {
	hash := fnv.New32a()
	hash.Write(id[:])
	return hash.Sum32()
}

// identity tells one selection from another.
func (s ViewSelection) identity() uint32 {
	hash := fnv.New32a()
	if s.Key != nil {
		hash.Write([]byte{1})
		hash.Write(s.Key)
		return hash.Sum32()
	}
	if s.One {
		hash.Write(binary.BigEndian.AppendUint32([]byte{3}, uint32(s.Partition)))
	} else {
		hash.Write([]byte{2})
	}
	hash.Write(s.Prefix)
	return hash.Sum32()
}

// AppendID appends the text of where a client stands that has been told everything up to an event, in a form that any
// instance of the view understands, after any restart. Before there is a place to go on from it appends a text that leads
// to a reset.
func (w *ViewWatch) AppendID(dst []byte, event ViewEvent) []byte {
	switch {
	case event.Kind == ViewWhole:
		w.consumed()
	case event.Change != nil && event.Change.Offset >= 0:
		w.positions[w.part(event.Change.Partition)] = event.Change.Offset + 1
	}
	return w.AppendPosition(dst)
}

// Placed reports whether there is a position to go on from.
func (w *ViewWatch) Placed() bool { return w.placed }

// AppendPosition is AppendID for a client that has been told everything that Next returned.
func (w *ViewWatch) AppendPosition(dst []byte) []byte {
	if !w.placed {
		return append(dst, viewSnapshotID...)
	}
	var space [128]byte
	raw := append(space[:0], viewResumeVersion)
	raw = binary.BigEndian.AppendUint32(raw, w.topic)
	raw = binary.BigEndian.AppendUint32(raw, w.selection.identity())
	raw = binary.AppendUvarint(raw, uint64(w.levelled()))
	for _, position := range w.positions {
		raw = binary.AppendUvarint(raw, uint64(position))
	}
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// levelled returns when all parts were level with the log, in seconds since the epoch.
func (w *ViewWatch) levelled() int64 {
	level := int64(math.MaxInt64)
	for _, number := range w.parts {
		if p := w.view.partition(number); p != nil {
			level = min(level, p.level.Load())
		}
	}
	if level == math.MaxInt64 {
		return 0
	}
	return max(0, level)
}

// CheckWatch returns what is wrong with the id that a watch of a selection is to go on after: an error that wraps
// ErrViewPosition.
func (v *View) CheckWatch(selection ViewSelection, after string) error {
	_, err := (&ViewWatch{selection: selection}).parse(after)
	return err
}

// parse reads what AppendID wrote. The empty text is none.
func (w *ViewWatch) parse(text string) (*viewResume, error) {
	switch {
	case text == "":
		return nil, nil
	case text == viewSnapshotID:
		return &viewResume{vague: true}, nil
	case len(text) > maxViewResume:
		return nil, fmt.Errorf("%w: it has %d characters", ErrViewPosition, len(text))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 10 || raw[0] != viewResumeVersion {
		return nil, fmt.Errorf("%w: use one as it was given", ErrViewPosition)
	}
	resume := &viewResume{topic: binary.BigEndian.Uint32(raw[1:])}
	if binary.BigEndian.Uint32(raw[5:]) != w.selection.identity() {
		return nil, fmt.Errorf("%w: it was given for another key or prefix", ErrViewPosition)
	}
	for rest, first := raw[9:], true; len(rest) > 0; first = false {
		value, size := binary.Uvarint(rest)
		if size <= 0 || value > math.MaxInt64 {
			return nil, fmt.Errorf("%w: use one as it was given", ErrViewPosition)
		}
		rest = rest[size:]
		if first {
			resume.level = int64(value)
			continue
		}
		resume.positions = append(resume.positions, int64(value))
	}
	if len(resume.positions) == 0 {
		return nil, fmt.Errorf("%w: use one as it was given", ErrViewPosition)
	}
	return resume, nil
}

// viewResumption is what came of an attempt to go on.
type viewResumption uint8

const (
	viewWaiting viewResumption = iota
	viewResumed
	viewUnresumable
)

// resume gathers the changes after the positions, the client's or the watch's own, and has those to come queued. It begins
// again with the first part whenever a part makes it wait.
func (w *ViewWatch) resume() (viewUntil, viewResumption) {
	if w.after != nil {
		if w.after.vague || len(w.after.positions) != len(w.parts) {
			return viewUntil{}, viewUnresumable
		}
		copy(w.positions, w.after.positions)
		w.topic, w.level = w.after.topic, w.after.level
	} else {
		w.level = w.levelled()
	}
	w.caught = nil
	for i, number := range w.parts {
		until, outcome := w.follow(i, number)
		if outcome != viewResumed {
			w.forget()
			return until, outcome
		}
	}
	if w.caught = w.condense(w.caught); len(w.caught) > viewQueueMost {
		return viewUntil{}, viewUnresumable
	}
	w.after = nil
	return viewUntil{}, viewResumed
}

// follow begins one part at its position, gathering the changes since.
func (w *ViewWatch) follow(part int, number int32) (viewUntil, viewResumption) {
	p := w.view.partition(number)
	if p == nil {
		return viewUntil{}, viewWaiting
	}
	changes, next, outcome := w.since(part, p)
	if outcome == viewUnresumable && next > w.positions[part] && p.warm(w.ctx, w.level) {
		changes, next, outcome = w.since(part, p)
	}
	switch {
	case outcome != viewResumed:
		return viewUntil{}, outcome
	case next < w.positions[part]:
		return w.ahead(p, w.positions[part])
	}
	for _, change := range changes {
		if w.selects(change.Key) {
			w.caught = append(w.caught, change)
		}
	}
	return viewUntil{}, viewResumed
}

// since begins one part and returns the changes from its position on. A part that is not there yet, where another
// instance was, does not begin.
func (w *ViewWatch) since(part int, p *viewPartition) ([]*ViewChange, int64, viewResumption) {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	engine := p.engine.Load()
	if engine == nil || !p.ready.Load() {
		return nil, 0, viewWaiting
	}
	checkpoint, found := engine.Checkpoint(w.view.config.Topic)
	if !found || viewTopicIdentity(checkpoint.TopicID) != w.topic {
		return nil, 0, viewUnresumable
	}
	next := p.feed.next.Load()
	if next < w.positions[part] {
		return nil, next, viewResumed
	}
	changes, known := p.feed.since(w.positions[part])
	if !known {
		return nil, next, viewUnresumable
	}
	w.begin(part)
	return changes, next, viewResumed
}

// ahead waits for a partition to get to where the client was told another instance had been. A log that ends before is
// not the one that was told of.
func (w *ViewWatch) ahead(p *viewPartition, position int64) (viewUntil, viewResumption) {
	asked := w.asked
	if asked.IsZero() {
		w.asked = time.Now()
	} else if w.view.Contact().After(asked) && p.stable.Load() < position {
		return viewUntil{}, viewUnresumable
	}
	reached, stop := p.wait(position)
	timer := time.NewTimer(viewCheckInterval / 4)
	return viewUntil{reached: reached, expired: timer.C, done: func() { stop(); timer.Stop() }}, viewWaiting
}

// selects reports whether a row is watched.
func (w *ViewWatch) selects(key []byte) bool {
	if w.selection.Key != nil {
		return bytes.Equal(key, w.selection.Key)
	}
	return bytes.HasPrefix(key, w.selection.Prefix)
}

// condense leaves the latest change of each row, if there are many.
func (w *ViewWatch) condense(changes []*ViewChange) []*ViewChange {
	if len(changes) <= viewQueueChanges {
		return changes
	}
	kept := viewLatest(changes)
	w.view.hub.conflated.Add(uint64(len(changes) - len(kept)))
	return kept
}
