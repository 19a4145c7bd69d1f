package broker

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }
