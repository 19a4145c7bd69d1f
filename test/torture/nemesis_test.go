package torture

import (
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/tidemilltest"
	"github.com/tidemill/tidemill/test/torture/faulty"
)

// event is something that the nemesis does at a time.
type event struct {
	at time.Duration
	do func()
}

// nemesis carries out a schedule, in one goroutine: each fault's end is an event of its own, so that faults overlap.
type nemesis struct {
	w      *world
	began  time.Time
	events []event // by time
	busy   map[any]bool
}

// run carries out the schedule and calls meanwhile about every 100 ms.
func (n *nemesis) run(schedule []fault, meanwhile func()) {
	n.began, n.busy = time.Now(), map[any]bool{}
	for _, f := range schedule {
		n.after(f.at, func() { n.strike(f) })
	}
	for len(n.events) > 0 {
		next := n.events[0]
		if wait := next.at - time.Since(n.began); wait > 0 {
			time.Sleep(min(wait, 100*ms))
			meanwhile()
			continue
		}
		n.events = n.events[1:]
		next.do()
	}
}

// after has something done at a time.
func (n *nemesis) after(at time.Duration, do func()) {
	i, _ := slices.BinarySearchFunc(n.events, at, func(e event, at time.Duration) int {
		if e.at <= at {
			return -1
		}
		return 1
	})
	n.events = slices.Insert(n.events, i, event{at, do})
}

// spell does something to a target that nothing else is being done to, and undoes it later.
func (n *nemesis) spell(f fault, target any, begin, end func()) {
	if n.busy[target] {
		n.w.skipped[f.what]++
		return
	}
	n.w.faults[f.what]++
	n.busy[target] = true
	begin()
	n.after(time.Since(n.began)+f.lasts, func() {
		end()
		delete(n.busy, target)
	})
}

// one chooses a process.
func (f fault) one(from []*process) *process { return from[f.dice%uint64(len(from))] }

// strike carries out one fault.
func (n *nemesis) strike(f fault) {
	w := n.w
	switch f.what {
	case "kill processor":
		n.kill(f, f.one(w.processors))
	case "kill view":
		n.kill(f, f.one(w.views))
	case "kill commander":
		n.kill(f, w.commander)
	case "kill subscriptions":
		n.kill(f, w.subscriptions)
	case "kill up":
		n.kill(f, w.commander)
	case "kill everything":
		for _, p := range w.all() {
			if p != w.node {
				n.kill(f, p)
			}
		}
	case "kill broker":
		n.killBroker(f)
	case "stop broker":
		n.stopBroker(f)
	case "stop processor":
		n.stop(f, f.one(w.processors))
	case "stop view":
		n.stop(f, f.one(w.views))
	case "rebalance storm":
		n.storm(f)
	case "leave and return":
		n.leave(f, f.one(w.all()))
	case "lose a disk":
		n.loseDisk(f)
	case "fill a disk":
		n.fillDisk(f)
	default:
		n.network(f)
	}
}

func (n *nemesis) kill(f fault, p *process) {
	n.spell(f, p, func() { n.shoot(p) }, func() { n.w.start(p) })
}

// shoot kills a process and counts it.
func (n *nemesis) shoot(p *process) {
	p.noteDeath()
	p.resume()
	if p.Kill9() {
		n.w.kills[p.name]++
	}
}

func (n *nemesis) stop(f fault, p *process) {
	n.spell(f, p, p.pause, p.resume)
}

func (n *nemesis) killBroker(f fault) {
	w := n.w
	switch w.kind {
	case kindKafka:
		n.spell(f, w.kafka, func() {
			w.kafka.Kill9(w.t)
			w.kafkaDown = true
			w.kills["broker"]++
		}, w.startKafka)
	case kindEmbedded:
		n.kill(f, w.node)
	default:
		n.spell(f, "child", func() {
			if child := childOf(w.commander); child != 0 && syscall.Kill(child, syscall.SIGKILL) == nil {
				w.kills["broker"]++
			}
		}, func() {})
	}
}

func (n *nemesis) stopBroker(f fault) {
	w := n.w
	switch w.kind {
	case kindKafka:
		if w.kafkaDown {
			w.skipped[f.what]++
			return
		}
		n.spell(f, w.kafka, func() { w.kafka.Pause(w.t); w.kafkaPaused = true }, w.resumeKafka)
	case kindEmbedded:
		n.stop(f, w.node)
	default:
		child := childOf(w.commander)
		n.spell(f, "child", func() {
			if child != 0 {
				_ = syscall.Kill(child, syscall.SIGSTOP) // gone is as good
			}
		}, func() {
			if child != 0 {
				_ = syscall.Kill(child, syscall.SIGCONT)
			}
		})
	}
}

// childOf returns the process id of a process's one child, 0 if there is none.
func childOf(p *process) int {
	if !p.Running() {
		return 0
	}
	child, _ := tidemilltest.ChildOf(p.PID()) // without /proc there is none to be found
	return child
}

// storm lets another processor come and go, asked and unasked, so that the group rebalances again and again.
func (n *nemesis) storm(f fault) {
	p, at := n.w.extra, time.Since(n.began)
	if n.busy[p] {
		n.w.skipped[f.what]++
		return
	}
	n.w.faults[f.what]++
	n.busy[p] = true
	for i := range 3 {
		step := time.Duration(i) * 1300 * ms
		n.after(at+step, func() { n.w.start(p) })
		n.after(at+step+700*ms+time.Duration(f.dice%400)*ms, func() {
			if i%2 == 0 {
				n.shoot(p)
			} else if err := p.terminate(); err != nil {
				n.w.problem("%v", err)
			}
		})
	}
	n.after(at+5*time.Second, func() { delete(n.busy, p) })
}

// leave asks a process to leave, and starts it again.
func (n *nemesis) leave(f fault, p *process) {
	n.spell(f, p, func() {
		if p.noteDeath() {
			return
		}
		if err := p.terminate(); err != nil {
			n.w.problem("%v", err)
		}
	}, func() { n.w.start(p) })
}

// loseDisk kills a processor and removes all it has.
func (n *nemesis) loseDisk(f fault) {
	p := n.w.processors[len(n.w.processors)-1]
	n.spell(f, p, func() {
		n.shoot(p)
		if err := os.RemoveAll(p.dir); err != nil {
			n.w.t.Fatal(err)
		}
	}, func() { n.w.start(p) })
}

func (n *nemesis) fillDisk(f fault) {
	if n.w.small == "" {
		n.w.skipped[f.what]++
		return
	}
	// The one whose disk it is may end, saying why; then it is started again when there is room.
	p := n.w.smallOwner
	n.spell(f, p, func() {
		p.noteDeath()
		p.fullDisk = true
		n.w.fillSmall()
	}, func() {
		n.w.emptySmall()
		p.noteDeath()
		p.fullDisk = false
		n.w.start(p)
	})
}

// network does something to the connections of one process.
func (n *nemesis) network(f fault) {
	var list []*process
	for _, p := range n.w.all() {
		if n.w.proxies[p] != nil {
			list = append(list, p)
		}
	}
	proxy := n.w.proxies[f.one(list)]
	begin := func() {}
	switch f.what {
	case "cut":
		begin = func() { proxy.Cut() }
	case "refuse":
		begin = func() { proxy.Refuse(true); proxy.Cut() }
	case "hold":
		begin = func() { proxy.Hold(true) }
	case "delay":
		begin = func() { proxy.Delay(time.Duration(5+f.dice>>8%150) * ms) }
	case "tear requests":
		begin = func() { proxy.Tear(1 + int(f.dice>>8%4)) }
	case "lose replies":
		keys := []int16{faulty.EndTxn, faulty.EndTxn, faulty.TxnOffsetCommit, faulty.Produce, faulty.InitProducerID, faulty.SyncGroup, faulty.Heartbeat}
		begin = func() { proxy.LoseReplies(keys[f.dice>>8%uint64(len(keys))], 1+int(f.dice>>16%3)) }
	}
	n.spell(f, proxy, begin, proxy.Heal)
}
