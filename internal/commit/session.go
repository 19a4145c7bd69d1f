package commit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/task"
)

// Config of a session.
type Config struct {
	Member    Member
	Topics    []string        // the sub-topology's source topics
	Units     []*Unit         // the tasks of the assigned partitions, restored
	Producers []Producer      // one or two, initialised
	Group     Offsets         // to resolve unknown outcomes
	Next      map[Place]int64 // committed offsets at the start of the session
	Observer  Observer        // may be nil
	// MaxInterval bounds how long work waits for its commit under load; the batch grows up to it.
	MaxInterval time.Duration
	// MaxBytes bounds what the layers being worked on may hold, over all tasks; stepping waits beyond it.
	MaxBytes int
	// CommitTimeout bounds one commit.
	CommitTimeout time.Duration
	// Now is the clock for pacing and checkpoints; nil takes time.Now.
	Now func() time.Time
}

// Session runs the tasks of one generation. Process may be called for different partitions concurrently, but for one
// partition by one goroutine.
type Session struct {
	member    Member
	topics    []string
	units     map[int32]*Unit
	producers []Producer
	turn      int // of producers; the committing goroutine's
	group     Offsets
	next      map[Place]int64 // the committing goroutine's
	observer  Observer
	now       func() time.Time
	config    Config

	// gate is held for reading while a task steps, for writing while the tasks are sealed.
	gate   sync.RWMutex
	closed bool // guarded by gate

	// work has room for one signal: there is something to commit.
	work chan struct{}
	// full is signalled when MaxBytes is reached.
	full chan struct{}

	mu     sync.Mutex
	bytes  int           // in the upper layers, guarded by mu
	room   chan struct{} // closed and replaced at each seal, guarded by mu
	failed error         // guarded by mu
	done   chan struct{} // closed when the session has failed or ended
}

// NewSession returns a session; Run must be called for anything to be committed.
func NewSession(config Config) *Session {
	s := &Session{
		member: config.Member, topics: config.Topics, units: map[int32]*Unit{}, producers: config.Producers, group: config.Group,
		next: config.Next, observer: config.Observer, now: config.Now, config: config,
		work: make(chan struct{}, 1), full: make(chan struct{}, 1), room: make(chan struct{}), done: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.next == nil {
		s.next = map[Place]int64{}
	}
	for _, unit := range config.Units {
		s.units[unit.Task.Partition()] = unit
	}
	return s
}

// stepsPerGate is how many records are stepped before the gate is looked at again: a commit waits no longer than these take.
const stepsPerGate = 32

// Process steps records of one partition. It returns when all are stepped; ErrClosed when the session ended before: the
// rest is forgotten, and will be read again from the committed offsets (rule 2).
func (s *Session) Process(partition int32, records []task.Record) error {
	unit, ok := s.units[partition]
	if !ok {
		return fmt.Errorf("processing a record of partition %d: the partition is not assigned", partition)
	}
	for len(records) > 0 {
		n := min(len(records), stepsPerGate)
		if err := s.step(unit, records[:n]); err != nil {
			return err
		}
		records = records[n:]
		if err := s.waitForRoom(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) step(unit *Unit, records []task.Record) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return ErrClosed
	}
	before := unit.Task.Upper().Size()
	for i := range records {
		if err := unit.Task.Step(records[i]); err != nil {
			s.fail(err)
			return err
		}
		unit.records++
	}
	s.grew(unit.Task.Upper().Size() - before)
	return nil
}

// Tick tells every task the time, in milliseconds.
func (s *Session) Tick(now int64) error {
	s.gate.Lock() // tasks may be stepping on other goroutines
	defer s.gate.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, unit := range s.units {
		before := unit.Task.Upper().Size()
		if err := unit.Task.Tick(now); err != nil {
			go s.fail(err)
			return err
		}
		if unit.Task.Upper().Dirty() {
			s.grew(unit.Task.Upper().Size() - before)
		}
	}
	return nil
}

// grew adds to the size of the upper layers and signals the committing goroutine.
func (s *Session) grew(bytes int) {
	s.mu.Lock()
	s.bytes += bytes
	over := s.bytes >= s.config.MaxBytes
	s.mu.Unlock()
	signal(s.work)
	if over {
		signal(s.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitForRoom blocks while the upper layers hold more than MaxBytes.
func (s *Session) waitForRoom() error {
	for {
		s.mu.Lock()
		room, over := s.room, s.bytes >= s.config.MaxBytes
		s.mu.Unlock()
		if !over {
			return nil
		}
		select {
		case <-room:
		case <-s.done:
			return ErrClosed
		}
	}
}

// seal makes every task's upper layer the lower one; nil if there is nothing to commit.
func (s *Session) seal() *transaction {
	s.gate.Lock()
	defer s.gate.Unlock()
	return s.sealLocked()
}

func (s *Session) sealLocked() *transaction {
	tx := &transaction{begun: s.now()}
	for _, unit := range s.units {
		if layer := unit.Task.Seal(); layer != nil {
			tx.parts = append(tx.parts, &sealed{unit: unit, layer: layer, written: map[string]int64{}})
			tx.records += unit.records
			tx.bytes += layer.Size()
			unit.records = 0
		}
	}
	s.mu.Lock()
	s.bytes = 0
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	if len(tx.parts) == 0 {
		return nil
	}
	return tx
}

// fail ends the session with its first error.
func (s *Session) fail(err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
		close(s.done)
	}
	s.mu.Unlock()
	if first && !errors.Is(err, ErrClosed) && s.observer != nil {
		s.observer.TransactionFailed(err)
	}
}

// Done is closed when the session has failed or was closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended; nil while it runs, ErrClosed after Close.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Run commits until the session ends. ctx ends it without a last commit; Close makes one.
func (s *Session) Run(ctx context.Context) {
	pace := pacer{max: s.config.MaxInterval}
	for {
		select {
		case <-s.work:
		case <-s.done:
			return
		case <-ctx.Done():
			s.fail(ErrClosed)
			return
		}
		if !s.wait(ctx, pace.delay(s.now())) {
			return
		}
		tx := s.seal()
		if tx == nil {
			continue
		}
		pace.sealed(s.now(), tx.records)
		if err := s.commitInTime(ctx, tx); err != nil {
			s.fail(err)
			return
		}
	}
}

// wait lets the batch grow for a while. It reports false when the session has ended.
func (s *Session) wait(ctx context.Context, delay time.Duration) bool {
	if delay <= 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.full:
	case <-s.done:
		return false
	case <-ctx.Done():
		s.fail(ErrClosed)
		return false
	}
	return true
}

func (s *Session) commitInTime(ctx context.Context, tx *transaction) error {
	// The transaction's end must not be cut off by a shutdown: its outcome would be unknown for nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.CommitTimeout)
	defer cancel()
	return s.commit(ctx, tx)
}

// Close ends the session (rule 2): the gate closes, running steps finish, what was queued but not stepped is forgotten, and
// what was stepped is committed. Run must have returned, or return because of it: Close waits for runDone.
func (s *Session) Close(ctx context.Context, runDone <-chan struct{}) error {
	s.gate.Lock()
	s.closed = true
	s.gate.Unlock()
	before := s.Err()
	s.fail(ErrClosed)
	<-runDone
	if err := s.Err(); before != nil || !errors.Is(err, ErrClosed) {
		return err
	}
	tx := s.seal()
	if tx == nil {
		return nil
	}
	if err := s.commitInTime(ctx, tx); err != nil {
		return fmt.Errorf("committing at the end of the session: %w", err)
	}
	return nil
}
