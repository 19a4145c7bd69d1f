package porttest_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/internal/porttest"
)

func TestTake(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 20 {
				port, err := porttest.Take()
				if err != nil {
					t.Error(err)
					return
				}
				listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Error(err)
					return
				}
				_ = listener.Close()
				mu.Lock()
				if seen[port] {
					t.Errorf("%d was given twice", port)
				}
				seen[port] = true
				mu.Unlock()
			}
		})
	}
	wait.Wait()
}
