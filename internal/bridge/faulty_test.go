package bridge_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var errCut = errors.New("the connection is cut")

// faulty opens connections that are cut when a request of one kind is sent, or when its answer comes, for as long as armed
// says so. It notes the kinds of requests in their order.
type faulty struct {
	key      kmsg.Key
	lose     loss
	delay    time.Duration // of the answer, where nothing is lost
	mu       sync.Mutex
	armed    bool
	cuts     int
	requests []int16
	open     map[int16]int     // requests without an answer yet, by kind
	beside   map[[2]int16]bool // kinds of requests that were sent while another kind was open
}

// loss is what of an exchange does not arrive.
type loss int

const (
	loseAnswer loss = iota
	loseRequest
	loseNothing
)

func (f *faulty) arm(armed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = armed
}

func (f *faulty) cut() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cuts
}

// dial is for kgo.Dialer.
func (f *faulty) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, faulty: f, waiting: map[int32]int16{}}, nil
}

// faultyConn sees whole requests, as franz-go writes them, and reads whole answers.
type faultyConn struct {
	net.Conn
	faulty *faulty

	mu      sync.Mutex
	waiting map[int32]int16 // kind of request by correlation id
	answer  []byte          // read but not handed out
}

// Write implements net.Conn.
func (c *faultyConn) Write(request []byte) (int, error) {
	if len(request) >= 12 {
		key, id := int16(binary.BigEndian.Uint16(request[4:])), int32(binary.BigEndian.Uint32(request[8:]))
		c.mu.Lock()
		c.waiting[id] = key
		c.mu.Unlock()
		if c.faulty.strikes(key, loseRequest) {
			_ = c.Conn.Close()
			return 0, errCut
		}
	}
	return c.Conn.Write(request)
}

// Read implements net.Conn.
func (c *faultyConn) Read(into []byte) (int, error) {
	if len(c.answer) == 0 {
		var size [4]byte
		if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
			return 0, err
		}
		answer := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
		copy(answer, size[:])
		if _, err := io.ReadFull(c.Conn, answer[4:]); err != nil {
			return 0, err
		}
		id := int32(binary.BigEndian.Uint32(answer[4:]))
		c.mu.Lock()
		key := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if c.faulty.lose == loseNothing && kmsg.Key(key) == c.faulty.key {
			time.Sleep(c.faulty.delay)
		}
		if c.faulty.strikes(key, loseAnswer) {
			_ = c.Conn.Close()
			return 0, errCut
		}
		c.answer = answer
	}
	n := copy(into, c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

// strikes notes a request as it is sent, and tells whether it or its answer is lost.
func (f *faulty) strikes(key int16, now loss) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open, f.beside = map[int16]int{}, map[[2]int16]bool{}
	}
	if now == loseRequest {
		for other, n := range f.open {
			if n > 0 {
				f.beside[[2]int16{key, other}] = true
			}
		}
		f.requests = append(f.requests, key)
		f.open[key]++
	} else {
		f.open[key]--
	}
	if !f.armed || f.lose != now || f.key != kmsg.Key(key) {
		return false
	}
	f.cuts++
	return true
}
