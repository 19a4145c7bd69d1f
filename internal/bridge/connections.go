package bridge

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// errStopped is what a connection ends with that was cut because the processor has been told to stop.
var errStopped = errors.New("the processor has been stopped")

// connections opens sarama's connections, and can cut them all: sarama waits for the answers to what it has asked as long as
// a rebalance may take, also when it is closed.
type connections struct {
	timeout time.Duration

	mu   sync.Mutex
	open map[*connection]struct{} // nil once cut, guarded by mu
}

func newConnections(timeout time.Duration) *connections {
	return &connections{timeout: timeout, open: map[*connection]struct{}{}}
}

// Dial is sarama's proxy.Dialer.
func (c *connections) Dial(network, address string) (net.Conn, error) {
	if c.stopped() {
		return nil, errStopped
	}
	dialed, err := (&net.Dialer{Timeout: c.timeout}).Dial(network, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	conn := &connection{Conn: dialed, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return nil, errors.Join(errStopped, dialed.Close())
	}
	c.open[conn] = struct{}{}
	return conn, nil
}

func (c *connections) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open == nil
}

// cut closes all connections and opens no more.
func (c *connections) cut() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close() // whoever uses it is told
	}
}

// connection leaves the list when it is closed.
type connection struct {
	net.Conn
	of *connections
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
