package views

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// farewellTimeout is how long the clients of a view that ends may take for what they are still told.
const farewellTimeout = 300 * time.Millisecond

// outlet is where a stream is written to.
type outlet interface {
	// send writes a piece within a time. No data sends nothing.
	send(data []byte, within time.Duration) error
}

// responseOutlet writes to the response of a request that lasts as long as the stream.
type responseOutlet struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newResponseOutlet(w http.ResponseWriter) *responseOutlet {
	return &responseOutlet{w: w, control: http.NewResponseController(w)}
}

func (o *responseOutlet) send(data []byte, within time.Duration) error {
	if err := o.control.SetWriteDeadline(time.Now().Add(within)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := o.w.Write(data); err != nil {
		return err
	}
	return o.control.Flush()
}

// connectionOutlet writes to a connection that was taken over from its server: the rest of a body in chunks (RFC 9112,
// section 7.1). The server's buffers and its goroutine with the stack that parsing and routing need are given up, which are
// more than half of what a stream would take up otherwise.
type connectionOutlet struct {
	connection net.Conn
}

func (o *connectionOutlet) send(data []byte, within time.Duration) error {
	if err := o.connection.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	chunk := make([]byte, 0, len(data)+12)
	chunk = append(strconv.AppendInt(chunk, int64(len(data)), 16), "\r\n"...)
	_, err := o.connection.Write(append(append(chunk, data...), "\r\n"...))
	return err
}

// close ends the body, if it can be done at once, and the connection.
func (o *connectionOutlet) close() {
	if o.connection.SetWriteDeadline(time.Now().Add(farewellTimeout)) == nil {
		_, _ = o.connection.Write([]byte("0\r\n\r\n")) // a client that is gone needs no end
	}
	_ = o.connection.Close() // there is nothing left to lose
}

// connections are those that a view's streams have taken over. The zero value is empty.
type connections struct {
	mu     sync.Mutex
	ending bool                  // guarded by mu: none are taken over
	open   map[net.Conn]struct{} // guarded by mu
	gone   chan struct{}         // guarded by mu: closed when streams are to end that no watch ends; nil before it is asked for
	wait   sync.WaitGroup        // for their goroutines; added to with mu held
}

// take takes over the connection of a response of HTTP/1.1 that has begun. serve runs in a goroutine of its own; left is called
// when the client is gone. It reports false where that cannot be: the response is to be gone on with.
func (c *connections) take(w http.ResponseWriter, left func(), serve func(outlet)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false
	}
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	if c.open == nil {
		c.open = make(map[net.Conn]struct{})
	}
	c.open[connection] = struct{}{}
	c.wait.Go(func() {
		defer left()
		drain(connection)
	})
	c.wait.Go(func() {
		out := &connectionOutlet{connection}
		defer c.release(out)
		serve(out)
	})
	return true
}

// drain returns when the client has closed the connection. What it sends is not for this stream.
func drain(connection net.Conn) {
	var ignored [16]byte
	for {
		if _, err := connection.Read(ignored[:]); err != nil {
			return
		}
	}
}

func (c *connections) release(out *connectionOutlet) {
	out.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, out.connection)
}

// begin lets connections be taken over.
func (c *connections) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.gone = false, nil
}

// stopped returns a channel that is closed by stop.
func (c *connections) stopped() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping()
}

// stopping returns the channel. The caller holds mu.
func (c *connections) stopping() chan struct{} {
	if c.gone == nil {
		c.gone = make(chan struct{})
	}
	return c.gone
}

// stop ends the streams that look at stopped, until begin.
func (c *connections) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.stopping():
	default:
		close(c.gone)
	}
}

// end waits for the streams, which have been told to end, and cuts off those whose clients take too long.
func (c *connections) end() {
	c.stop()
	c.mu.Lock()
	c.ending = true
	for connection := range c.open {
		_ = connection.SetDeadline(time.Now().Add(farewellTimeout)) // a connection without deadlines is closed below
	}
	timer := time.AfterFunc(2*farewellTimeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for connection := range c.open {
			_ = connection.Close() // its stream ends with an error
		}
	})
	c.mu.Unlock()
	defer timer.Stop()
	c.wait.Wait()
}
