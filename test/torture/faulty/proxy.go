// Package faulty is a proxy between Kafka clients and one broker that does to their connections what networks do: it cuts
// them, also in the middle of a request, delays and holds back what goes through, refuses new ones, and loses the replies to
// chosen requests after the broker has carried them out.
//
// It speaks just enough of the protocol to tell requests apart and to name itself where the broker names itself, so that every
// connection of a client goes through it, with any broker and without a setting there.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The API keys of requests whose lost replies are interesting.
const (
	Produce         int16 = 0
	JoinGroup       int16 = 11
	Heartbeat       int16 = 12
	SyncGroup       int16 = 14
	InitProducerID  int16 = 22
	EndTxn          int16 = 26
	TxnOffsetCommit int16 = 28
)

// dialTimeout bounds an attempt to reach the broker.
const dialTimeout = 3 * time.Second

// Counts are what a proxy has done.
type Counts struct{ Connections, Cut, Refused, Torn, RepliesLost int }

// Proxy is one client's way to one broker. Its methods are safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc

	mu          sync.Mutex
	connections map[*connection]struct{} // guarded by mu, as all that follows
	refusing    bool
	held        chan struct{} // closed when what is held back may go on; nil if nothing is
	delay       time.Duration
	losing      map[int16]int
	tearing     int
	counts      Counts
}

// New listens on a free loopback port for connections to a broker at host:port target.
func New(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for clients of %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: listener, connections: map[*connection]struct{}{}, losing: map[int16]int{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.done.Go(p.accept)
	return p, nil
}

// Addr is the proxy's host and port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy with all its connections and waits until nothing of it runs.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	p.Cut()
	p.done.Wait()
	return err
}

// Cut closes all connections and returns how many there were.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.connections)
	for c := range p.connections {
		c.close()
	}
	p.counts.Cut += n
	return n
}

// Refuse closes new connections at once, or lets them in again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refuse
}

// Hold lets nothing through in either direction while connections stay open, as a firewall that drops packets, or lets what
// was held back go on.
func (p *Proxy) Hold(hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case hold && p.held == nil:
		p.held = make(chan struct{})
	case !hold && p.held != nil:
		close(p.held)
		p.held = nil
	}
}

// Delay makes every request and every response take so much longer.
func (p *Proxy) Delay(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// LoseReplies lets the broker carry out the next n requests of an API key, and cuts the connection in the place of each reply.
func (p *Proxy) LoseReplies(key int16, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losing[key] = n
}

// Tear cuts the next n requests' connections after half of the request.
func (p *Proxy) Tear(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tearing = n
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.Hold(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.delay, p.tearing = false, 0, 0
	clear(p.losing)
}

// Counts returns what the proxy has done so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // too many open files
			continue
		}
		p.done.Go(func() { p.serve(client) })
	}
}

// serve carries one connection.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refusing := p.refusing
	if refusing {
		p.counts.Refused++
	}
	p.mu.Unlock()
	if refusing {
		return
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	broker, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer broker.Close()
	c := &connection{proxy: p, client: client, broker: broker, asked: map[int32]request{}, ended: make(chan struct{})}
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	p.connections[c] = struct{}{}
	p.counts.Connections++
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { defer c.close(); c.requests() })
	both.Go(func() { defer c.close(); c.responses() })
	both.Wait()
	p.mu.Lock()
	delete(p.connections, c)
	p.mu.Unlock()
}

// pass waits until something may go through. It returns false if the connection ended first.
func (p *Proxy) pass(c *connection) bool {
	p.mu.Lock()
	held, delay := p.held, p.delay
	p.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-c.ended:
			return false
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-c.ended:
			return false
		}
	}
	return true
}

// loses tells whether the reply to a request is to be lost.
func (p *Proxy) loses(key int16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.losing[key] == 0 {
		return false
	}
	p.losing[key]--
	p.counts.RepliesLost++
	return true
}

// tears tells whether a request is to be cut in its middle.
func (p *Proxy) tears() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tearing == 0 {
		return false
	}
	p.tearing--
	p.counts.Torn++
	return true
}

// maxFrame bounds a request or response, in bytes.
const maxFrame = 256 << 20

// readFrame reads one request or response with its four bytes of length.
func readFrame(from io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := int(size[0])<<24 | int(size[1])<<16 | int(size[2])<<8 | int(size[3])
	if n < 4 || n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	copy(frame, size[:])
	_, err := io.ReadFull(from, frame[4:])
	return frame, err
}
