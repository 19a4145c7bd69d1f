package log

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// goodbyeTimeout bounds how long brokers are told that a reader goes. A broker that does not hear it forgets the reader's
// fetch session by itself (KIP-227).
const goodbyeTimeout = 250 * time.Millisecond

// Leaving returns an option for a client that reads, and how to close that client: franz-go's Close alone waits a second
// for brokers that are away, to end its fetch sessions. Close may be called more than once; with a nil client, where none
// could be made, it only frees the option's context.
func Leaving() (option kgo.Opt, close func(*kgo.Client)) {
	ctx, cancel := context.WithCancel(context.Background())
	return kgo.WithContext(ctx), func(client *kgo.Client) {
		defer cancel()
		if client == nil {
			return
		}
		late := time.AfterFunc(goodbyeTimeout, cancel)
		defer late.Stop()
		client.Close()
	}
}
