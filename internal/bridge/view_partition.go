package bridge

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/store"
)

// viewHeartbeat is how stale the checkpoint of an idle partition may get before it is written again with a newer time.
const viewHeartbeat = 10 * time.Minute

// viewBatch is what goka carries as one message: consecutive records of a partition and the offset after them. Without
// records it only moves the position on.
type viewBatch struct {
	records []*kgo.Record
	next    int64 // the offset after the batch: of its last record or marker, plus 1
}

// viewEngine lets an interface sit in an atomic pointer.
type viewEngine struct{ store.Engine }

// viewPartition is the local copy of one partition: the storage that goka drives and the place that readers read.
// Unless a field says otherwise it belongs to the goroutine in which goka loads the partition.
type viewPartition struct {
	view   *View
	number int32
	dir    string

	batch     *store.Batch
	counts    *viewCounts
	session   *viewSession // set before goka starts, cleared after it ends
	sink      *viewSink    // what goka consumes from now
	oldest    int64        // the log's first offset when loading began
	targetAt  time.Time    // just before the target was read from the log
	levelAt   time.Time    // when the copy was last known to hold all that the log had
	writtenAt time.Time    // the time in the checkpoint last written
	broken    bool         // the engine failed; it must be opened anew

	engine   atomic.Pointer[viewEngine] // nil while closed
	held     atomic.Bool                // to be followed; always so but in a shared view
	stored   atomic.Bool                // in a shared view: there is a copy, open or on the disk
	ready    atomic.Bool                // restored; readers may read
	epoch    atomic.Uint64              // grows whenever rows begin to vanish for a rebuild
	position atomic.Int64               // every changelog record below it is applied and readable
	start    atomic.Int64               // the position when this restore began
	target   atomic.Int64               // the last stable offset when loading began
	stable   atomic.Int64               // the last stable offset as last seen
	moved    atomic.Int64               // monotonic-ish nanoseconds of the last progress, for the stall watch
	applied  atomic.Uint64              // records applied since the view was made
	rebuilds atomic.Uint64
	damaged  atomic.Bool               // a reader found the engine corrupt
	fresh    atomic.Pointer[time.Time] // a time at which the copy held all that was committed; nil for unknown
	asOf     atomic.Pointer[time.Time] // likewise, of all that had happened where the hops begin
	aim      atomic.Pointer[viewEnd]   // where the log ended at a time, while the copy is not there yet; nil for none
	level    atomic.Int64              // levelAt as of the position, in seconds since the epoch
	feed     *viewFeed
	foreseen atomic.Pointer[viewForeseen] // where what had happened at a time ends; nil for unknown

	mu      sync.Mutex
	waiters []viewWaiter // guarded by mu
	waiting atomic.Int32 // len(waiters), so that advancing without waiters takes no lock
}

// viewWaiter is someone waiting for a position.
type viewWaiter struct {
	position int64
	reached  chan struct{}
}

func newViewPartition(v *View, number int32, count int, dir string) *viewPartition {
	return &viewPartition{
		view: v, number: number, dir: dir, batch: store.NewBatch(), counts: newViewCounts(v.config.Name, v.config.Counts),
		feed: &viewFeed{hub: v.hub, limit: v.config.RecentBytes / count},
	}
}

// open opens the store. A corrupt one is destroyed: it is a copy, and the changelog has the original.
func (p *viewPartition) open() error {
	if p.engine.Load() != nil {
		return nil
	}
	engine, err := p.view.config.Open(p.dir)
	if errors.Is(err, store.ErrCorrupt) {
		p.view.log.Error("the local copy is corrupt; it is removed and rebuilt from the changelog", "partition", p.number, "error", err)
		if err := p.view.config.Destroy(p.dir); err != nil {
			return err
		}
		p.rebuilds.Add(1)
		engine, err = p.view.config.Open(p.dir)
	}
	if err != nil {
		return fmt.Errorf("opening the local copy of partition %d: %w", p.number, err)
	}
	p.engine.Store(&viewEngine{engine})
	p.broken = false
	return nil
}

// close closes the store, having noted in it how fresh it is.
func (p *viewPartition) close() error {
	p.ready.Store(false)
	p.lose(0)
	engine := p.engine.Swap(nil)
	if engine == nil {
		return nil
	}
	var err error
	if !p.broken && p.levelAt.After(p.writtenAt) && p.session != nil {
		p.batch.Reset()
		p.batch.SetCheckpoint(p.checkpoint(p.position.Load()))
		err = engine.Apply(p.batch)
	}
	return errors.Join(err, engine.Close())
}

// resume decides where to go on: at the checkpoint, if the local copy can be believed, or else from the beginning with an
// empty copy. It returns the offset to go on from.
func (p *viewPartition) resume() (int64, error) {
	if p.broken || p.damaged.Load() {
		if err := p.reopen(); err != nil {
			return 0, err
		}
	}
	if err := p.open(); err != nil {
		return 0, err
	}
	asked := time.Now()
	oldest, stable, err := p.session.bounds(p.number)
	if err != nil {
		return 0, err
	}
	engine := p.engine.Load()
	checkpoint, found := engine.Checkpoint(p.view.config.Topic)
	reason := p.distrust(checkpoint, found, oldest, stable)
	if reason != "" {
		if found {
			p.view.log.Warn("the local copy cannot be believed; it is rebuilt from the changelog", "partition", p.number,
				"reason", reason, "checkpoint", checkpoint.Offset, "oldest", oldest, "stable", stable)
		}
		if err := p.discard(engine, oldest, found); err != nil {
			return 0, err
		}
		checkpoint.Offset = oldest
	} else if p.levelAt.IsZero() {
		p.levelAt = time.UnixMilli(checkpoint.WrittenAt)
	}
	if err := p.settleCounts(engine, checkpoint.Offset); err != nil {
		return 0, p.failed(err)
	}
	p.oldest = oldest
	p.aim.Store(nil) // it may be of another log
	p.target.Store(stable)
	p.targetAt = asked
	p.observe(stable)
	if !p.ready.Load() {
		p.start.Store(checkpoint.Offset)
	}
	p.level.Store(p.levelAt.Unix())
	if checkpoint.Offset != p.feed.next.Load() {
		p.lose(checkpoint.Offset)
	}
	p.advance(checkpoint.Offset)
	return checkpoint.Offset, nil
}

// lose has those who watch begin anew: the rows are about to become those of a position without the changes in between
// being told.
func (p *viewPartition) lose(position int64) {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	p.feed.restart(position)
	p.view.hub.lose(p.number)
}

// distrust returns why the local copy must not be believed, or "".
func (p *viewPartition) distrust(checkpoint store.Checkpoint, found bool, oldest, stable int64) string {
	switch age := p.view.config.Now().Sub(time.UnixMilli(checkpoint.WrittenAt)); {
	case !found:
		return "there is no checkpoint"
	case checkpoint.Partition != p.number:
		return fmt.Sprintf("it is a copy of partition %d", checkpoint.Partition)
	case checkpoint.TopicID != p.session.topic.id:
		return "the topic was created anew since"
	case checkpoint.Offset < oldest:
		return "the log begins after the checkpoint"
	case checkpoint.Offset > stable:
		return "it is ahead of the log"
	case age > p.session.maxAge:
		return fmt.Sprintf("it was last level with the log %v ago; tombstones since may be gone", age.Round(time.Second))
	}
	return ""
}

// discard empties the local copy and has it stand at the log's beginning. Readers are turned away before the first row
// vanishes.
func (p *viewPartition) discard(engine *viewEngine, oldest int64, held bool) error {
	p.ready.Store(false)
	p.epoch.Add(1)
	p.lose(0)
	if held {
		p.rebuilds.Add(1)
	}
	err := engine.DeleteStore(p.view.config.Name, p.view.config.Topic)
	if err == nil {
		err = p.dropCounts(engine)
	}
	if err == nil {
		p.levelAt = p.view.config.Now() // what the log has let go of by now, the copy does not have either
		p.batch.Reset()
		p.counts.mark(p.batch, oldest)
		p.batch.SetCheckpoint(p.checkpoint(oldest))
		err = engine.Apply(p.batch)
	}
	if err != nil {
		p.broken = true
		return fmt.Errorf("emptying the local copy of partition %d: %w", p.number, err)
	}
	return nil
}

// reopen closes an engine that failed, so that it is opened with what is on the disk; a damaged one goes.
func (p *viewPartition) reopen() error {
	p.epoch.Add(1)
	p.lose(0)
	if engine := p.engine.Swap(nil); engine != nil {
		if err := engine.Close(); err != nil {
			p.view.log.Warn("closing a local copy that failed", "partition", p.number, "error", err)
		}
	}
	p.broken = false
	if p.damaged.Swap(false) {
		p.ready.Store(false)
		p.rebuilds.Add(1)
		p.view.log.Error("the local copy is corrupt; it is removed and rebuilt from the changelog", "partition", p.number)
		if err := p.view.config.Destroy(p.dir); err != nil {
			return fmt.Errorf("removing a corrupt local copy: %w", err)
		}
	}
	return nil
}

// update applies the batch that goka's message stands for.
func (p *viewPartition) update(offset int64) error {
	batch := p.sink.take()
	if batch == nil || batch.next-1 != offset {
		return fmt.Errorf("partition %d: no batch belongs to the message at offset %d", p.number, offset)
	}
	return p.apply(batch)
}

// apply writes a batch's rows and the offset after it as one, then lets readers and waiters know.
func (p *viewPartition) apply(batch *viewBatch) error {
	if batch.next < p.position.Load() {
		return nil // a position found by asking, overtaken by records meanwhile
	}
	engine := p.engine.Load()
	if engine == nil {
		return fmt.Errorf("partition %d: %w", p.number, store.ErrClosed)
	}
	if batch.next >= p.stable.Load() {
		p.levelAt = p.view.config.Now()
	}
	p.batch.Reset()
	count, err := p.gather(engine, batch)
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	if err == nil {
		err = engine.Apply(p.batch)
	}
	if err != nil {
		_ = p.failed(err)
		err = fmt.Errorf("applying %d records up to offset %d of partition %d: %w", count, batch.next, p.number, err)
		p.view.log.Error("the local copy cannot be written; it is opened anew", "error", err)
		return err
	}
	p.writtenAt = p.levelAt
	p.applied.Add(count)
	p.level.Store(p.levelAt.Unix())
	readable := p.ready.Load()
	p.advance(batch.next)
	p.feed.pass(batch.records, batch.next, readable)
	return nil
}

// failed has the engine opened anew, or, where it is corrupt, removed. It returns the error.
func (p *viewPartition) failed(err error) error {
	p.counts.forget()
	p.broken = true
	if errors.Is(err, store.ErrCorrupt) {
		p.damaged.Store(true)
	}
	return err
}

// gather puts a batch's rows, their counts and the offset after them into the batch for the store.
func (p *viewPartition) gather(engine store.Engine, batch *viewBatch) (count uint64, err error) {
	name := p.view.config.Name
	for _, record := range batch.records {
		if record.Attrs.IsControl() || record.Key == nil {
			continue // a marker, or a record that no table has a row for
		}
		if err := p.counts.change(engine, record.Key, record.Value != nil); err != nil {
			return count, err
		}
		if record.Value == nil {
			p.batch.Delete(name, record.Key)
		} else {
			p.batch.Put(name, record.Key, record.Value)
		}
		count++
	}
	p.batch.SetCheckpoint(p.checkpoint(batch.next))
	return count, p.counts.write(engine, p.batch, batch.next)
}

// checkpoint returns the checkpoint for a position.
func (p *viewPartition) checkpoint(position int64) store.Checkpoint {
	return store.Checkpoint{
		Changelog: p.view.config.Topic,
		Partition: p.number,
		TopicID:   p.session.topic.id,
		Offset:    position,
		WrittenAt: p.levelAt.UnixMilli(),
	}
}

// advance publishes a position. Rows below it are readable already.
func (p *viewPartition) advance(position int64) {
	p.position.Store(position)
	p.moved.Store(time.Now().UnixNano())
	if !p.ready.Load() && position >= p.target.Load() {
		p.freshen(p.targetAt)
		p.ready.Store(true)
		p.view.log.Info("partition restored", "partition", p.number, "position", position,
			"offsets", position-p.start.Load(), "records", p.applied.Load())
		p.view.hub.stir()
		p.view.noteReady()
	}
	p.reachAim(position)
	p.reachForeseen(position)
	if p.waiting.Load() > 0 {
		p.wake(position)
	}
}

// observe notes a last stable offset that a broker named.
func (p *viewPartition) observe(stable int64) {
	if stable >= 0 {
		p.stable.Store(stable)
	}
}

// wait returns a channel that is closed once the position is reached, and a function that stops waiting for it.
func (p *viewPartition) wait(position int64) (reached <-chan struct{}, stop func()) {
	waiter := viewWaiter{position: position, reached: make(chan struct{})}
	p.mu.Lock()
	p.waiters = append(p.waiters, waiter)
	p.waiting.Store(int32(len(p.waiters)))
	p.mu.Unlock()
	p.wake(p.position.Load()) // it may have been reached while we queued
	return waiter.reached, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.remove(func(w viewWaiter) bool { return w.reached == waiter.reached })
	}
}

// wake lets those go on who wait for this position or a lower one.
func (p *viewPartition) wake(position int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(func(w viewWaiter) bool {
		if w.position > position {
			return false
		}
		close(w.reached)
		return true
	})
}

// remove drops the waiters that done names. The caller holds mu.
func (p *viewPartition) remove(done func(viewWaiter) bool) {
	kept := p.waiters[:0]
	for _, w := range p.waiters {
		if !done(w) {
			kept = append(kept, w)
		}
	}
	clear(p.waiters[len(kept):])
	p.waiters = kept
	p.waiting.Store(int32(len(kept)))
}
