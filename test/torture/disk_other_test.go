//go:build !linux

package torture

// There is no small disk where none can be mounted, and no disk is filled.
func (w *world) mountSmall() { say("no small disk on this system; no disk will be full") }
func (w *world) fillSmall()  {}
func (w *world) emptySmall() {}
