package commit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/task"
)

// Config of a session.
type Config struct {
	Member    Member
	Topics    []string   // the sub-topology's source topics
	Units     []*Unit    // the tasks of the assigned partitions, restored
	Producers []Producer // one or two, initialised
	Group     Offsets    // to resolve unknown outcomes
	// Next is where each source topic's partitions stand at the start of the session. A place that is not in it and has not
	// been read is left out of commits: a position must not be invented.
	Next     map[Place]int64
	Observer Observer // may be nil
	// MaxInterval bounds how long work waits for its commit under load; the batch grows up to it.
	MaxInterval time.Duration
	// MaxBytes bounds what the layers being worked on may hold, over all tasks; stepping waits beyond it. The layers being
	// committed may hold as much again.
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
	order     []*Unit // as configured: transactions are sent in this order
	producers []Producer
	turn      int // of producers; the committing goroutine's
	group     Offsets
	next      map[Place]int64 // the committing goroutine's
	observer  Observer
	now       func() time.Time
	config    Config

	// commits ends when a commit in progress is to be cut off, which Close does when its own context ends.
	commits context.Context
	cut     context.CancelFunc

	// gate is held for reading while a task steps, for writing while the tasks are sealed.
	gate sync.RWMutex

	// work has room for one signal: there is something to commit.
	work chan struct{}
	// full is signalled when MaxBytes is reached.
	full chan struct{}

	mu     sync.Mutex
	bytes  int           // in the upper layers, guarded by mu
	room   chan struct{} // closed and replaced at each seal, guarded by mu
	failed error         // why the session has ended, guarded by mu
	broken bool          // nothing more may be committed, guarded by mu
	done   chan struct{} // closed when the session has failed or ended
}

// NewSession returns a session; Run must be called for anything to be committed, and Close at its end.
func NewSession(config Config) *Session {
	s := &Session{
		member: config.Member, topics: config.Topics, units: map[int32]*Unit{}, order: config.Units, producers: config.Producers,
		group: config.Group, next: maps.Clone(config.Next), observer: config.Observer, now: config.Now, config: config,
		work: make(chan struct{}, 1), full: make(chan struct{}, 1), room: make(chan struct{}), done: make(chan struct{}),
	}
	s.commits, s.cut = context.WithCancel(context.Background())
	if s.now == nil {
		s.now = time.Now
	}
	if s.next == nil {
		s.next = map[Place]int64{}
	}
	for _, unit := range config.Units {
		s.units[unit.Task.Partition()] = unit
		unit.dated = s.now() // by the restore
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
	if s.Err() != nil {
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
	if s.Err() != nil {
		return ErrClosed
	}
	for _, unit := range s.order {
		before := unit.Task.Upper().Size()
		if err := unit.Task.Tick(now); err != nil {
			s.fail(err)
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

// seal makes every task's upper layer the lower one; nil if there is nothing to commit, or nothing that may be.
func (s *Session) seal() *transaction {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.isBroken() {
		return nil
	}
	tx := &transaction{begun: s.now()}
	for _, unit := range s.order {
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
	select {
	case <-s.full: // it spoke of what is sealed now
	default:
	}
	if len(tx.parts) == 0 {
		return nil
	}
	return tx
}

// sound tells whether the layers of a session that ends with err may still be committed: it was closed, or by policy stops
// at a record, whose effects were undone. What came before the record must take effect: read again it would be in one batch
// with the record again, for ever. After any other error of a task its layer may hold half an effect, and after a failed
// commit the layers stand on one that did not happen (rule 6).
func sound(err error) bool { return errors.Is(err, ErrClosed) || errors.Is(err, graph.ErrRecord) }

// fail ends the session with its first error; a failure counts more than Close.
func (s *Session) fail(err error) {
	s.mu.Lock()
	first := s.failed == nil
	report := !errors.Is(err, ErrClosed) && (first || errors.Is(s.failed, ErrClosed))
	if first || report {
		s.failed = err
	}
	s.broken = s.broken || !sound(err)
	if first {
		close(s.done)
	}
	s.mu.Unlock()
	if report && s.observer != nil {
		s.observer.TransactionFailed(err)
	}
}

func (s *Session) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// Done is closed when the session has failed or was closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended; nil while it runs, ErrClosed after Close.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// checkpointAge is how often an idle task's checkpoints are dated anew.
const checkpointAge = time.Hour

// Run commits until the session ends: on the first error, or by Close, which also makes the last commit.
func (s *Session) Run() {
	pace := pacer{max: s.config.MaxInterval}
	idle := time.NewTicker(checkpointAge)
	defer idle.Stop()
	for {
		select {
		case <-s.work:
		case <-idle.C:
			if s.Date() != nil {
				return
			}
			continue
		case <-s.done:
			return
		}
		if !s.wait(pace.delay(s.now())) {
			return
		}
		began := s.now()
		records, some, err := s.CommitOnce()
		if err != nil {
			return
		}
		if some {
			pace.sealed(began, records)
		}
	}
}

// CommitOnce seals what was stepped and commits it: one turn of Run, for a driver that decides itself when. It returns how
// many input records that were, and whether there was anything. After an error the session has failed.
func (s *Session) CommitOnce() (records int, some bool, err error) {
	tx := s.seal()
	if tx == nil {
		return 0, false, nil
	}
	if err := s.commitInTime(tx); err != nil {
		s.fail(err)
		return 0, true, err
	}
	return tx.records, true, nil
}

// wait lets the batch grow for a while. It reports false when the session has ended.
func (s *Session) wait(delay time.Duration) bool {
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
	}
	return true
}

// Date writes checkpoints that have not been written for an hour anew: Run calls it each hour. No transaction is under way.
func (s *Session) Date() error {
	err := s.date(checkpointAge)
	if err != nil {
		s.fail(err)
	}
	return err
}

// date writes checkpoints of the given age anew. No transaction is under way.
func (s *Session) date(age time.Duration) error {
	for _, unit := range s.order {
		if err := unit.date(s.now(), age); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) commitInTime(tx *transaction) error {
	ctx, cancel := context.WithTimeout(s.commits, s.config.CommitTimeout)
	defer cancel()
	return s.commit(ctx, tx)
}

// Close ends the session (rule 2): the gate closes, running steps finish, what was queued but not stepped is forgotten, and
// what was stepped is committed, unless the session has failed. It waits for runDone, which Run's caller closes when Run has
// returned, and cuts a commit off when ctx ends. It returns why the session failed, or nil.
func (s *Session) Close(ctx context.Context, runDone <-chan struct{}) error {
	defer context.AfterFunc(ctx, s.cut)()
	s.Shut()
	<-runDone
	return s.Finish()
}

// Shut is the first part of Close: nothing more is stepped.
func (s *Session) Shut() { s.fail(ErrClosed) }

// Finish is the last part of Close, when no commit is under way any more.
func (s *Session) Finish() error {
	defer s.cut()
	if tx := s.seal(); tx != nil {
		if err := s.commitInTime(tx); err != nil {
			s.fail(fmt.Errorf("committing at the end of the session: %w", err))
		}
	}
	if !s.isBroken() {
		if err := s.date(0); err != nil {
			s.fail(err)
		}
	}
	if err := s.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}
