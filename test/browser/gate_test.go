package browser

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// gate is a way to a server that can be shut, so that the server is away for who comes by it.
type gate struct {
	t        *testing.T
	to, addr string
	wait     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener          // guarded by mu: nil while shut
	open     map[net.Conn]struct{} // guarded by mu
}

// newGate opens a way to an address.
func newGate(t *testing.T, to string) *gate {
	t.Helper()
	g := &gate{t: t, to: to, addr: freeAddr(t), open: make(map[net.Conn]struct{})}
	g.let()
	t.Cleanup(func() {
		g.shut()
		g.wait.Wait()
	})
	return g
}

// url is the server's, by this way.
func (g *gate) url() string { return "http://" + g.addr }

// let opens the gate.
func (g *gate) let() {
	g.t.Helper()
	listener, err := net.Listen("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener = listener
	g.wait.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			g.wait.Go(func() { g.pass(listener, from) })
		}
	})
}

// shut cuts all connections and takes no more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return
	}
	_ = g.listener.Close() // nobody can come by it in any case
	g.listener = nil
	for connection := range g.open {
		_ = connection.Close() // as above
	}
}

// pass carries bytes both ways until one end is gone.
func (g *gate) pass(listener net.Listener, from net.Conn) {
	to, err := net.Dial("tcp", g.to)
	if err != nil {
		_ = from.Close()
		return
	}
	g.mu.Lock()
	if g.listener != listener {
		g.mu.Unlock()
		_ = errors.Join(from.Close(), to.Close())
		return
	}
	g.open[from], g.open[to] = struct{}{}, struct{}{}
	g.mu.Unlock()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		ways.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // one end is gone, or both
			_ = errors.Join(from.Close(), to.Close())
		})
	}
	ways.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, from)
	delete(g.open, to)
}
