package views

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/bridge"
)

// Told is a change on its way to one of those who watch the row.
type Told[K, V any] struct {
	// Kind is any but Beat.
	Kind ChangeKind

	changes *Changes[K, V]
	change  *bridge.ViewChange // nil unless it is a row's
}

// Row decodes the change. The error wraps ErrDecode.
func (t Told[K, V]) Row() (Change[K, V], error) {
	if t.change == nil {
		return Change[K, V]{Kind: t.Kind}, nil
	}
	return t.changes.decoded(t.change)
}

// Rendered returns what render makes of the change. It is made once for all streams of by that are told the change, so that
// nobody may modify it; render is the same for all of them.
func (t Told[K, V]) Rendered(by *Streams, render func(Change[K, V]) ([]byte, error)) ([]byte, error) {
	if t.change == nil {
		return render(Change[K, V]{Kind: t.Kind})
	}
	if made := t.change.Rendered.Load(); made != nil && made.Owner == by {
		return made.Data, nil
	}
	row, err := t.Row()
	if err != nil {
		return nil, err
	}
	data, err := render(row)
	if err == nil && t.change.Offset >= 0 {
		t.change.Rendered.Store(&bridge.ViewRendered{Owner: by, Data: data})
	}
	return data, err
}

// Part is one of the watches that Together follows: Changes.Telling makes it.
type Part interface {
	begin(wake chan struct{}) (*bridge.ViewWatch, error)
	take(events []bridge.ViewEvent) error
	moved()
	end(err error)
}

// followed is a Part of one view.
type followed[K, V any] struct {
	*Changes[K, V]
	tell func(Told[K, V]) error
}

// Telling returns the changes as a part of what Together follows, in place of All. tell is called with each, once Position
// returns where it leads to; an error of it ends all of Together.
func (c *Changes[K, V]) Telling(tell func(Told[K, V]) error) Part { return &followed[K, V]{c, tell} }

func (p *followed[K, V]) begin(wake chan struct{}) (*bridge.ViewWatch, error) {
	if p.err != nil {
		return nil, p.err
	}
	inner, err := p.view.bridge.WatchWoken(p.ctx, p.rows, p.at, wake)
	p.inner = inner
	return inner, err
}

func (p *followed[K, V]) take(events []bridge.ViewEvent) error {
	for _, event := range events {
		told := Told[K, V]{changes: p.Changes, change: event.Change}
		switch {
		case event.Kind == bridge.ViewReset:
			told.Kind = Reset
		case event.Kind == bridge.ViewWhole:
			told.Kind = Ready
		case event.Change.Value == nil:
			told.Kind = RowDeleted
		}
		p.at = string(p.inner.AppendID(nil, event))
		if err := p.tell(told); err != nil {
			return err
		}
	}
	return nil
}

// moved notes how far the watch is that had nothing to tell.
func (p *followed[K, V]) moved() {
	if p.inner.Placed() {
		p.at = string(p.inner.AppendPosition(nil))
	}
}

func (p *followed[K, V]) end(err error) {
	p.err = err
	p.inner.Close()
}

// Together tells the changes of two watches, of whatever views, in one goroutine, until one of them ends or telling fails, and
// returns why; a watch's own error is wrapped as Changes.Err returns it. While nothing changes beat is called, every so
// often. It costs little more than one watch does: thousands of streams may each follow two views. Watch.Beat counts for nothing here.
func Together(every time.Duration, beat func() error, one, other Part) (err error) {
	wake := make(chan struct{}, 1)
	parts := [2]Part{one, other}
	var watches [2]*bridge.ViewWatch
	for i, part := range parts {
		if watches[i], err = part.begin(wake); err != nil {
			return fmt.Errorf("watching two views: %w", err)
		}
		defer func() { part.end(err) }()
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := 0; ; first = 1 - first { // they take turns at being first
		which, events, err := bridge.NextOf(ticker.C, watches[first], watches[1-first])
		switch {
		case err != nil:
			return fmt.Errorf("watching two views: %w", err)
		case which == nil:
			one.moved()
			other.moved()
			err = beat()
		case which == watches[0]:
			err = one.take(events)
		default:
			err = other.take(events)
		}
		if err != nil {
			return err
		}
	}
}
