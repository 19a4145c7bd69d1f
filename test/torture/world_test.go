package torture

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/tidemilltest"
	"github.com/tidemill/tidemill/test/torture/faulty"
)

// The kinds of round: everything in one process with its own broker; components apart on the embedded broker; components apart
// on a real Kafka.
const (
	kindUp       = "up"
	kindEmbedded = "embedded"
	kindKafka    = "kafka"
)

// world is the processes of one round, with their network and disks. It belongs to the nemesis.
type world struct {
	t       *testing.T
	kind    string
	dir     string
	brokers string // the broker's own address, for those who check
	node    *process
	kafka   *kafkatest.Process
	// kafkaDown and kafkaPaused are the real broker's condition.
	kafkaDown, kafkaPaused bool

	processors, views        []*process
	commander, subscriptions *process
	extra                    *process // comes and goes in rebalance storms
	proxies                  map[*process]*faulty.Proxy
	small                    string // where the small disk is mounted, "" if that is not permitted
	smallOwner               *process
	problems                 []string
	closing                  []func()
	kills, faults, skipped   map[string]int
}

// processFlags make processors give up on each other quickly.
var processorFlags = []string{
	"--processor-session-timeout", "3s", "--processor-heartbeat-interval", "300ms", "--processor-rebalance-timeout", "6s",
}

// newWorld starts a broker and prepares everything else.
func newWorld(t *testing.T, kind string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "tidemill-torture-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kind: kind, dir: dir, proxies: map[*process]*faulty.Proxy{}, kills: map[string]int{}, faults: map[string]int{}, skipped: map[string]int{}}
	w.closing = append(w.closing, func() { tidemilltest.RemoveAll(t, dir) })
	t.Cleanup(w.close)
	switch kind {
	case kindKafka:
		w.kafka = kafkatest.RealOwn(t, kafkatest.Options{})
		w.brokers = w.kafka.Addr()
	default:
		w.brokers = freeAddr(t)
	}
	w.mountSmall()
	if kind == kindUp {
		w.prepareUp()
	} else {
		w.prepareApart()
	}
	return w
}

// prepareUp has everything in one process, and beside it a second processor and a second view in processes of their own.
func (w *world) prepareUp() {
	up := newProcess(w.t, "up", "up", filepath.Join(w.dir, "up"), append([]string{"--broker-addr", w.brokers}, processorFlags...)...)
	w.commander, w.subscriptions = up, up
	w.processors = []*process{up, w.processor("second", w.place("second"))}
	w.smallOwner = w.processors[1]
	w.views = []*process{up, w.component("view", "view")}
	w.extra = w.processor("extra", filepath.Join(w.dir, "extra"))
}

// prepareApart has each component in a process of its own, two processors and two views.
func (w *world) prepareApart() {
	if w.kind == kindEmbedded {
		w.node = newProcess(w.t, "broker", "broker", filepath.Join(w.dir, "broker"), "--broker-addr", w.brokers)
	}
	w.processors = []*process{
		w.processor("first", filepath.Join(w.dir, "first"), "--processor-instance-id", "first"), w.processor("second", w.place("second")),
	}
	w.smallOwner = w.processors[1]
	w.views = []*process{w.component("view", "view"), w.component("view", "view2")}
	w.subscriptions = w.component("subscriptions", "subscriptions")
	w.commander = w.component("commander", "commander", "--calculator-view-url", w.views[0].url, "--calculator-subscriptions-url", w.subscriptions.url)
	w.extra = w.processor("extra", filepath.Join(w.dir, "extra"))
}

// place is the directory of the process with the small disk.
func (w *world) place(name string) string {
	if w.small != "" {
		return filepath.Join(w.small, name)
	}
	return filepath.Join(w.dir, name)
}

// proxied makes a proxy for a process to be.
func (w *world) proxied() *faulty.Proxy {
	proxy, err := faulty.New(w.brokers)
	if err != nil {
		w.t.Fatal(err)
	}
	w.closing = append(w.closing, func() { _ = proxy.Close() })
	return proxy
}

func (w *world) processor(name, dir string, flags ...string) *process {
	proxy := w.proxied()
	p := newProcess(w.t, "calculator processor", name, dir, slices.Concat([]string{"--brokers", proxy.Addr()}, processorFlags, flags)...)
	w.proxies[p] = proxy
	return p
}

func (w *world) component(part, name string, flags ...string) *process {
	proxy := w.proxied()
	p := newProcess(w.t, "calculator "+part, name, filepath.Join(w.dir, name), append([]string{"--brokers", proxy.Addr()}, flags...)...)
	w.proxies[p] = proxy
	return p
}

// all are the processes that are there to stay, the broker's first.
func (w *world) all() (list []*process) {
	if w.node != nil {
		list = append(list, w.node)
	}
	for _, p := range slices.Concat(w.processors, w.views, []*process{w.commander, w.subscriptions}) {
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// restore ends all faults and starts whatever does not run.
func (w *world) restore() {
	for _, proxy := range w.proxies {
		proxy.Heal()
	}
	w.emptySmall()
	if p := w.smallOwner; p.fullDisk {
		p.noteDeath()
		p.fullDisk = false
	}
	if w.kafka != nil {
		w.resumeKafka()
		w.startKafka()
	}
	for _, p := range w.all() {
		p.resume()
		w.start(p)
	}
}

func (w *world) start(p *process) {
	if err := p.start(); err != nil {
		w.t.Fatalf("starting %s: %v", p.name, err)
	}
}

// awaitReady waits until all processes say they are ready. Meanwhile what has ended by itself is started again.
func (w *world) awaitReady() bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		waiting := ""
		for _, p := range w.all() {
			w.revive(p)
			if p.admin == "" {
				if !listens(w.brokers) {
					waiting = p.name
				}
			} else if !p.ready(ctx) {
				waiting = p.name
			}
		}
		if waiting == "" {
			return true
		}
		if ctx.Err() != nil {
			w.problem("stuck: %s is not ready %s after the faults are over", waiting, patience)
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// revive notes and mends an end that nobody asked for.
func (w *world) revive(p *process) {
	if p.noteDeath() {
		w.start(p)
	}
}

func listens(addr string) bool {
	connection, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// close ends everything that still runs.
func (w *world) close() {
	for _, p := range append(w.all(), w.extra) {
		p.resume()
		p.Kill9()
	}
	for _, end := range slices.Backward(w.closing) {
		end()
	}
}

func (w *world) startKafka() {
	if w.kafkaDown {
		w.kafka.Start(w.t)
		w.kafkaDown = false
	}
}

func (w *world) resumeKafka() {
	if w.kafkaPaused {
		w.kafka.Continue(w.t)
		w.kafkaPaused = false
	}
}
