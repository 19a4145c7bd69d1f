package faulty

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The requests whose answers name brokers.
const (
	metadata        int16 = 3
	findCoordinator int16 = 10
	describeCluster int16 = 60
)

// request is what must be known of a request when its response comes.
type request struct{ key, version int16 }

// connection is one client's connection with the one to the broker.
type connection struct {
	proxy          *Proxy
	client, broker net.Conn
	once           sync.Once
	ended          chan struct{}

	mu    sync.Mutex
	asked map[int32]request // by correlation id; guarded by mu
}

// close ends both sides.
func (c *connection) close() {
	c.once.Do(func() {
		close(c.ended)
		c.client.Close()
		c.broker.Close()
	})
}

// requests carries what the client sends until one side ends.
func (c *connection) requests() {
	from := bufio.NewReaderSize(c.client, 64<<10)
	for {
		frame, err := readFrame(from)
		if err != nil || len(frame) < 12 {
			return
		}
		r := request{int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))}
		c.mu.Lock()
		c.asked[int32(binary.BigEndian.Uint32(frame[8:]))] = r
		c.mu.Unlock()
		if !c.proxy.pass(c) {
			return
		}
		torn := c.proxy.tears()
		if torn {
			frame = frame[:len(frame)/2]
		}
		if _, err := c.broker.Write(frame); err != nil || torn {
			return
		}
	}
}

// responses carries what the broker sends until one side ends.
func (c *connection) responses() {
	from := bufio.NewReaderSize(c.broker, 64<<10)
	for {
		frame, err := readFrame(from)
		if err != nil {
			return
		}
		id := int32(binary.BigEndian.Uint32(frame[4:]))
		c.mu.Lock()
		r, known := c.asked[id]
		delete(c.asked, id)
		c.mu.Unlock()
		if known && c.proxy.loses(r.key) {
			return
		}
		if known {
			if frame, err = c.readdressed(frame, r); err != nil {
				return
			}
		}
		if !c.proxy.pass(c) {
			return
		}
		if _, err := c.client.Write(frame); err != nil {
			return
		}
	}
}

// readdressed puts the proxy's address in the place of the broker's.
func (c *connection) readdressed(frame []byte, r request) ([]byte, error) {
	if r.key != metadata && r.key != findCoordinator && r.key != describeCluster {
		return frame, nil
	}
	response := kmsg.ResponseForKey(r.key)
	response.SetVersion(r.version)
	body := 8
	if response.IsFlexible() {
		if len(frame) < 9 || frame[8] != 0 {
			return nil, fmt.Errorf("the response to request %d has tags in its header", r.key)
		}
		body = 9
	}
	if err := response.ReadFrom(frame[body:]); err != nil {
		return nil, fmt.Errorf("reading the response to request %d, version %d: %w", r.key, r.version, err)
	}
	host, port, err := net.SplitHostPort(c.proxy.Addr())
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	readdress(response, host, int32(number))
	rewritten := response.AppendTo(append([]byte(nil), frame[:body]...))
	binary.BigEndian.PutUint32(rewritten, uint32(len(rewritten)-4))
	return rewritten, nil
}

// readdress names another address for all brokers.
func readdress(response kmsg.Response, host string, port int32) {
	switch r := response.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = host, port
		}
	case *kmsg.FindCoordinatorResponse:
		if r.Host != "" {
			r.Host, r.Port = host, port
		}
		for i := range r.Coordinators {
			if r.Coordinators[i].Host != "" {
				r.Coordinators[i].Host, r.Coordinators[i].Port = host, port
			}
		}
	case *kmsg.DescribeClusterResponse:
		for i := range r.Brokers {
			r.Brokers[i].Host, r.Brokers[i].Port = host, port
		}
	}
}
