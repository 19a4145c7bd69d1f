package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/commit"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/restore"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/transact"
)

// machine is where a process runs: an instance id and the disks of its tasks.
type machine struct {
	instance string
	disks    map[int32]*disk
}

// process is one running processor: what package bridge's Processor does, on coroutines.
type process struct {
	world      *world
	machine    *machine
	name       string
	coroutines []*coroutine
	alive      bool
	// stoppedUntil is when a SIGSTOP ends, cutUntil when the network is mended.
	stoppedUntil, cutUntil time.Duration
	clock                  time.Duration // how far its clock is off
	draining               bool
	superseded             bool // another process was started with its instance id
	shared                 bool // it is one of those two

	producers []commit.Producer
	takeovers map[string]*client // of departed instances' ids, where that is not done
	unstable  int                // how many times in a row the offsets were held by a transaction
	engines   map[int32]*disk
	memberID  string
	unclean   bool
	session   *session
	ended     error // why it has ended by itself
}

// current returns the coroutine that runs now.
func (p *process) current() *coroutine { return p.world.schedule.current }

// wall returns the process's clock.
func (p *process) wall() time.Time {
	return time.UnixMilli(epoch).Add(p.world.schedule.now + p.world.leapt + p.clock)
}

func (p *process) note(format string, args ...any) {
	p.world.schedule.note(p.name+": "+format, args...)
}

// start starts a process on a machine.
func (w *world) start(m *machine) *process {
	w.started++
	p := &process{world: w, machine: m, name: fmt.Sprintf("%s#%d", m.instance, w.started), alive: true, engines: map[int32]*disk{}, takeovers: map[string]*client{}}
	w.processes = append(w.processes, p)
	p.note("starts")
	w.schedule.spawn(p, p.run)
	return p
}

// kill ends a process as kill -9 does. It must not be called by one of its own coroutines.
func (p *process) kill() {
	if !p.alive {
		return
	}
	p.note("is killed")
	p.alive = false
	for _, c := range p.coroutines {
		c.kill()
	}
}

// run is the process's main thread.
func (p *process) run(c *coroutine) {
	p.ended = p.work(c)
	if p.ended != nil {
		p.note("ends: %v", p.ended)
	}
	w := p.world
	w.schedule.after(0, func() { p.kill(); w.stopped(p) })
}

// work prepares the process and runs one session after another.
func (p *process) work(c *coroutine) error {
	for turn := range p.world.profile.producers {
		client := p.world.newClient(p, restore.TransactionalID(p.world.sub.Group, p.machine.instance, turn))
		err := client.Reinit(context.Background()) // rule 1: before the group is joined
		for errors.Is(err, log.ErrUnreachable) {
			c.sleep(500 * time.Millisecond)
			err = client.Reinit(context.Background()) // by the same client, which knows what it has found undecided
		}
		if err != nil {
			return err
		}
		p.producers = append(p.producers, transact.New(client))
	}
	delay := 20 * time.Millisecond
	for {
		err := p.generation(c)
		p.mend()
		switch {
		case fatal(err):
			return err
		case p.draining:
			return p.leave(c)
		case err == nil:
			delay = 20 * time.Millisecond
			continue
		}
		p.note("the session has ended: %v", err)
		c.sleep(delay)
		delay = min(2*delay, time.Second)
	}
}

// fatal tells whether rejoining cannot mend an error, as package bridge does.
func fatal(err error) bool {
	for _, sentinel := range []error{
		restore.ErrNoCommittedOffset, restore.ErrForeignOffset, restore.ErrOffsetOutOfRange, restore.ErrTopicRecreated,
		commit.ErrInstanceFenced, store.ErrDiskFull,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// unstablePatience is how many times in a row the offsets may be those of a transaction that ends by itself; after that every
// departed instance's id is taken over.
const unstablePatience = 3

// takeOver initialises the id of an instance that has departed, and lets it go.
func (p *process) takeOver(ctx context.Context, id string) error {
	if p.takeovers[id] == nil {
		p.takeovers[id] = p.world.newClient(p, id)
	}
	err := p.takeovers[id].init(ctx)
	if err == nil {
		delete(p.takeovers, id)
	}
	return err
}

// leave removes the static member of a process that was stopped on purpose (rule 10).
func (p *process) leave(c *coroutine) error {
	_, err := retry(context.Background(), c, func() (bool, error) {
		p.world.brokers.group.leave(p.machine.instance)
		return true, nil
	})
	return err
}

// mend opens stores that have failed again.
func (p *process) mend() {
	for number, d := range p.engines {
		if d.broken != nil {
			delete(p.engines, number)
		}
	}
}

func (p *process) engine(number int32) store.Engine {
	if d, ok := p.engines[number]; ok {
		return d
	}
	d := p.machine.disks[number]
	if d == nil {
		d = p.world.newDisk(p.machine, number)
		p.machine.disks[number] = d
	}
	p.engines[number] = d
	return d.open(p)
}

// generation joins the group, runs a session and ends it.
func (p *process) generation(c *coroutine) error {
	member, assigned, err := p.join(c)
	if err != nil {
		if errors.Is(err, log.ErrMemberFenced) {
			p.memberID = ""
		}
		return transact.Translate(err)
	}
	s := &session{process: p, member: member, assigned: assigned}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer s.cancel()
	p.session = s
	defer func() { p.session = nil }()
	p.world.schedule.spawn(p, s.heartbeats)
	err = s.open(c)
	if p.unstable++; !errors.Is(err, errUnstable) {
		p.unstable = 0
	}
	if err != nil {
		p.unclean = true
		return errors.Join(err, transact.Translate(s.lost))
	}
	p.note("runs %v in generation %d", assigned, member.Generation)
	for s.ctx.Err() == nil && s.session.Err() == nil && !p.draining {
		c.sleep(time.Millisecond)
	}
	err = s.close(c)
	p.unclean = p.unclean || err != nil
	if errors.Is(s.lost, log.ErrInstanceFenced) {
		err = errors.Join(err, transact.Translate(s.lost))
	}
	return err
}

// join joins the group and waits for the generation.
func (p *process) join(c *coroutine) (commit.Member, []int32, error) {
	g := p.world.brokers.group
	instance, known := p.machine.instance, p.memberID
	id, err := callInOrder(c, func() (string, error) { return g.join(instance, known) })
	if err != nil {
		return commit.Member{}, nil, err
	}
	p.memberID = id
	for {
		generation, assigned, done, err := g.joined(instance, id)
		if err != nil {
			return commit.Member{}, nil, err
		}
		if done {
			member := commit.Member{Group: p.world.sub.Group, ID: id, InstanceID: instance, Generation: generation}
			return member, append([]int32(nil), assigned...), nil
		}
		c.sleep(2 * time.Millisecond)
	}
}
