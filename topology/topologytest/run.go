package topologytest

import "github.com/tidemill/tidemill/internal/store"

// check ends the test on an error.
func (d *Driver) check(err error) bool {
	if err != nil {
		d.t.Helper()
		d.t.Fatalf("topologytest: %v", err)
	}
	return err != nil
}

// boot starts all tasks.
func (d *Driver) boot() {
	for _, w := range d.workers {
		if d.check(w.boot()) || d.check(w.task.Tick(d.now)) {
			return
		}
	}
	d.steps = 0
}

// process steps what there is, in the order in which it was written, until nothing is left.
func (d *Driver) process() {
	for {
		var first entry
		var ready *worker
		for _, w := range d.workers {
			if e, ok := w.next(); ok && (ready == nil || e.order < first.order) {
				first, ready = e, w
			}
		}
		if ready == nil || d.check(ready.step(first)) {
			return
		}
		d.stepped(ready)
	}
}

// stepped sends a step's outputs and commits if it is time to. It reports true if the driver has crashed instead.
func (d *Driver) stepped(w *worker) (crashed bool) {
	w.send()
	d.steps++
	if d.instant() {
		return true
	}
	if every := d.options.commitEvery; every > 0 && d.steps >= every {
		d.commit()
	}
	return false
}

// commit commits everything processed so far. It reports false if there was nothing.
func (d *Driver) commit() (some bool) {
	d.steps = 0
	var sealed []*worker
	for _, w := range d.workers {
		if d.check(w.persist()) {
			return false
		}
		if w.seal() {
			sealed = append(sealed, w)
		}
	}
	if len(sealed) == 0 {
		return false
	}
	if d.instant() {
		return true
	}
	d.log.end(entryCommitted)
	for _, w := range sealed {
		w.committed()
	}
	d.instant()
	return true
}

// restart kills the process and starts it again.
func (d *Driver) restart(diskLost bool) {
	d.log.end(entryAborted)
	if diskLost {
		for _, w := range d.workers {
			w.disk = store.NewMemory()
		}
	}
	d.boot()
}

// abort undoes the open transaction.
func (d *Driver) abort() {
	d.log.end(entryAborted)
	d.steps = 0
	for _, w := range d.workers {
		if d.check(w.reset()) {
			return
		}
	}
}

// instant is a moment at which the process can crash. It reports true if it did.
func (d *Driver) instant() bool {
	d.instants++
	if d.crash == nil || d.instants-1 != d.crashAt {
		return false
	}
	d.crash()
	return true
}
