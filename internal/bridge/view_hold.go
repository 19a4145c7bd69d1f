package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
)

// ErrViewElsewhere says that a partition is not held here: another instance has it. It is an ErrViewNotReady.
var ErrViewElsewhere = fmt.Errorf("another instance holds that partition: %w", ErrViewNotReady)

// viewHolds is what a view that is shared out shall hold. Hold and Discard write it, the session follows it.
type viewHolds struct {
	changed chan struct{} // of capacity 1

	mu      sync.Mutex
	given   bool           // guarded by mu: Hold has been called
	want    map[int32]bool // guarded by mu: to be open and followed
	discard map[int32]bool // guarded by mu: to be removed from the disk
}

func newViewHolds() *viewHolds {
	return &viewHolds{changed: make(chan struct{}, 1), want: make(map[int32]bool), discard: make(map[int32]bool)}
}

// poke has the session look.
func (h *viewHolds) poke() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Hold has a shared view hold exactly these partitions. Copies of others are closed and stay on the disk until Discard. It
// takes effect soon after; Status tells.
func (v *View) Hold(numbers []int32) {
	v.holds.mu.Lock()
	defer v.holds.mu.Unlock()
	v.holds.given = true
	clear(v.holds.want)
	for _, number := range numbers {
		v.holds.want[number] = true
		delete(v.holds.discard, number)
	}
	v.holds.poke()
}

// Discard removes the copy of a partition that is not held from the disk, soon.
func (v *View) Discard(number int32) {
	v.holds.mu.Lock()
	defer v.holds.mu.Unlock()
	if !v.holds.want[number] {
		v.holds.discard[number] = true
		v.holds.poke()
	}
}

// holding returns what is to be held and what to be removed, and whether that has been said at all.
func (v *View) holding() (want, discard map[int32]bool, given bool) {
	v.holds.mu.Lock()
	defer v.holds.mu.Unlock()
	want, discard = make(map[int32]bool), make(map[int32]bool)
	for number := range v.holds.want {
		want[number] = true
	}
	for number := range v.holds.discard {
		discard[number] = true
		delete(v.holds.discard, number)
	}
	return want, discard, v.holds.given
}

// ViewCopy is a local copy of a partition, held or not.
type ViewCopy struct {
	Partition int32
	// Ready is whether it can be read.
	Ready bool
	// Position is the next changelog offset to apply.
	Position int64
}

// Copies returns the local copies, open or only on the disk, in the order of their partitions.
func (v *View) Copies() (copies []ViewCopy) {
	for _, p := range *v.partitions.Load() {
		if p.stored.Load() {
			copies = append(copies, ViewCopy{Partition: p.number, Ready: p.ready.Load(), Position: p.position.Load()})
		}
	}
	return copies
}

// Held reports whether a partition is held here and can be read.
func (v *View) Held(number int32) bool {
	p := v.partition(number)
	return p != nil && p.held.Load() && p.ready.Load()
}

// heldNumbers returns the partitions that are held, ready or not.
func (v *View) heldNumbers() (numbers []int32) {
	for _, p := range *v.partitions.Load() {
		if p.held.Load() {
			numbers = append(numbers, p.number)
		}
	}
	return numbers
}

// peek notes where a copy on the disk stands that is not open.
func (p *viewPartition) peek() error {
	if p.engine.Load() != nil {
		return nil
	}
	if _, err := os.Stat(p.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := p.open(); err != nil {
		return err
	}
	if checkpoint, found := p.engine.Load().Checkpoint(p.view.config.Topic); found {
		p.position.Store(checkpoint.Offset)
		p.stored.Store(true)
	}
	return p.engine.Swap(nil).Close()
}

// viewHolding is one partition being followed.
type viewHolding struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when goka's view has ended
}

// runHeld follows the partitions that are to be held, each with a goka view of its own, until the session ends.
func (s *viewSession) runHeld() error {
	running := make(map[int32]*viewHolding)
	failed := make(chan error, 1)
	defer func() {
		for _, holding := range running {
			holding.cancel()
		}
		for _, holding := range running {
			<-holding.done
		}
	}()
	for {
		want, discard, given := s.view.holding()
		for _, number := range s.view.heldNumbers() {
			if want[number] {
				continue
			}
			if holding := running[number]; holding != nil { // else it is left of an earlier session
				holding.cancel()
				<-holding.done
				delete(running, number)
			}
			s.view.partition(number).release()
		}
		for number := range discard {
			if p := s.view.partition(number); p != nil && running[number] == nil {
				p.erase()
			}
		}
		for number := range want {
			p := s.view.partition(number)
			if p == nil || running[number] != nil {
				continue
			}
			holding, err := s.hold(p, failed)
			if err != nil {
				return err
			}
			running[number] = holding
		}
		if given {
			s.view.assigned.Store(true)
			s.view.noteReady()
		}
		select {
		case <-s.ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-s.view.holds.changed:
		}
	}
}

// hold begins to follow one partition.
func (s *viewSession) hold(p *viewPartition, failed chan<- error) (*viewHolding, error) {
	p.session = s
	if err := p.open(); err != nil {
		return nil, err
	}
	p.stored.Store(true)
	view, err := s.newSoleView(p.number)
	if err != nil {
		return nil, fmt.Errorf("making goka's view of partition %d: %w", p.number, err)
	}
	p.held.Store(true)
	ctx, cancel := context.WithCancel(s.ctx)
	holding := &viewHolding{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(holding.done)
		if err := view.Run(ctx); err != nil && ctx.Err() == nil {
			select {
			case failed <- fmt.Errorf("following partition %d: %w", p.number, err):
			default: // one reason to begin anew is enough
			}
		}
	}()
	return holding, nil
}

// release closes a copy that is not to be held any more. Readers are turned away first.
func (p *viewPartition) release() {
	p.held.Store(false)
	if err := p.close(); err != nil {
		p.view.log.Error("closing the local copy", "partition", p.number, "error", err)
	}
	p.view.log.Info("partition released", "partition", p.number, "position", p.position.Load())
}

// erase takes a copy that is not held from the disk.
func (p *viewPartition) erase() {
	if err := p.view.config.Destroy(p.dir); err != nil {
		p.view.log.Error("removing a local copy that is not held any more", "partition", p.number, "error", err)
		return
	}
	p.stored.Store(false)
	p.position.Store(0)
	p.view.log.Info("local copy removed", "partition", p.number)
}

// newSoleView makes a goka view of one partition. goka wants a table's partitions without a gap, so that each is shown to
// it as the only one of a table.
func (s *viewSession) newSoleView(number int32) (*goka.View, error) {
	p := s.view.partition(number)
	return goka.NewView(nil, goka.Table(s.view.config.Topic), viewBytes{}, append(s.commonOptions(),
		goka.WithViewConsumerSaramaBuilder(func([]string, string) (sarama.Consumer, error) { return viewSole{s.consumer, number}, nil }),
		goka.WithViewTopicManagerBuilder(func([]string) (goka.TopicManager, error) {
			return viewSoleTopic{viewTopicManager{s}, number}, nil
		}),
		goka.WithViewStorageBuilder(func(string, int32) (storage.Storage, error) { return viewStorage{p}, nil }),
		goka.WithViewCallback(func(update goka.UpdateContext, _ storage.Storage, _ string, _ []byte) error {
			return p.update(update.Offset())
		}),
	)...)
}

// viewSole shows one partition of a consumer as partition 0.
type viewSole struct {
	*viewConsumer
	number int32
}

// ConsumePartition consumes the one partition.
func (c viewSole) ConsumePartition(topic string, _ int32, offset int64) (sarama.PartitionConsumer, error) {
	return c.viewConsumer.ConsumePartition(topic, c.number, offset)
}

// Partitions returns 0.
func (c viewSole) Partitions(string) ([]int32, error) { return []int32{0}, nil }

// HighWaterMarks returns the last stable offset of the one partition.
func (c viewSole) HighWaterMarks() map[string]map[int32]int64 {
	return map[string]map[int32]int64{c.topic: {0: c.view.partition(c.number).stable.Load()}}
}

// viewSoleTopic shows one partition of a topic as partition 0.
type viewSoleTopic struct {
	viewTopicManager
	number int32
}

// Partitions returns 0.
func (m viewSoleTopic) Partitions(string) ([]int32, error) { return []int32{0}, nil }

// GetOffset returns an offset of the one partition.
func (m viewSoleTopic) GetOffset(topic string, _ int32, time int64) (int64, error) {
	return m.viewTopicManager.GetOffset(topic, m.number, time)
}
