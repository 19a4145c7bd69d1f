// Package porttest finds ports for tests whose processes are killed and started again, and so listen only now and then.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Below what Linux gives to outgoing connections by default (from 32768 on), one of which could have the port while nobody listens.
const (
	first    = 20_000
	ports    = 12_000
	attempts = 1_000
)

// given are the ports that this process has been given.
var given sync.Map

// Take returns a port on the loopback interface that was free a moment ago, and never the same one again. It is safe for
// concurrent use.
func Take() (int, error) {
	var failed error
	for range attempts {
		port := first + rand.N(ports)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, listener.Close()
		}
		failed = err
	}
	return 0, fmt.Errorf("no free port in %d attempts: %w", attempts, failed)
}
