package broker

import "github.com/twmb/franz-go/pkg/kfake"

// Cluster is the node itself.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }
