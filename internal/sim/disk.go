package sim

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/store"
)

// disk is the state directory of one task on one machine: an engine in memory whose writes take time and may fail, and what
// is left of it after a crash. A batch is there as a whole or not at all (package store's own tests show that of LevelDB).
type disk struct {
	world     *world
	stores    []*graph.Store
	partition int32
	machine   *machine
	base      store.Engine // what is on the disk
	engine    store.Engine // base as a task sees it, with sets
	// earlier are the last states before the present one, oldest first: a machine that loses power comes back with one.
	earlier []store.Engine
	broken  error // it refuses writes until it is opened again
	// deferring says that a restore lets writes wait in memory (store.Deferrer); unwritten is how many of the last ones may
	// still be there, and are gone if the process is killed.
	deferring bool
	unwritten int
	owner     *process
}

// errDisk is what a failing disk answers.
var errDisk = fmt.Errorf("input/output error")

const keptStates = 3

func (w *world) newDisk(m *machine, number int32) *disk {
	d := &disk{world: w, stores: w.workload.SubTopology().Stores, partition: number, machine: m}
	d.load(store.NewMemory())
	return d
}

// segmentRows makes segments of sets out of few rows.
const segmentRows = 4

// load reads what a task keeps in memory of the disk.
func (d *disk) load(base store.Engine) {
	sets := map[string]store.Set{}
	for _, spec := range d.stores {
		for _, name := range spec.DerivedStores {
			if spec.DerivedExpiry != nil {
				sets[name] = store.Set{Expiry: spec.DerivedExpiry, SegmentRows: segmentRows}
			}
		}
	}
	engine, err := store.WithSets(base, sets)
	if err != nil {
		d.world.schedule.fail("opening a store: %v", err)
	}
	d.base, d.engine = base, engine
}

// open makes the disk usable by a process.
func (d *disk) open(p *process) store.Engine {
	d.owner, d.broken, d.deferring, d.unwritten = p, nil, false, 0
	d.load(d.base)
	return d
}

// snapshot returns a copy of an engine.
func (d *disk) snapshot() store.Engine {
	copied, rows := store.NewMemory(), store.NewBatch()
	for _, spec := range d.stores {
		for _, name := range append([]string{spec.Name}, spec.DerivedStores...) {
			each(d.base, name, func(key, value []byte) { rows.Put(name, key, value) })
		}
	}
	for _, at := range d.base.Checkpoints() {
		rows.SetCheckpoint(at)
	}
	if err := copied.Apply(rows); err != nil {
		d.world.schedule.fail("copying a store: %v", err)
	}
	return copied
}

func each(engine store.Engine, name string, visit func(key, value []byte)) {
	rows := engine.Range(name, nil, nil, false)
	for rows.Next() {
		visit(rows.Key(), rows.Value())
	}
	_ = rows.Close() // memory
}

// losePower goes back to an earlier state.
func (d *disk) losePower() {
	if n := len(d.earlier); n > 0 {
		i := d.world.schedule.random.IntN(n + 1)
		if i < n {
			d.load(d.earlier[i])
			d.earlier = d.earlier[:i]
		}
	}
}

// lose is a disk that was replaced, or found corrupt and destroyed.
func (d *disk) lose() {
	d.earlier = nil
	d.load(store.NewMemory())
}

// write carries out a write: before and after it, others may go on, and the process may be killed.
func (d *disk) write(what string, do func() error) error {
	co, s := d.owner.current(), d.world.schedule
	if d.broken != nil {
		return d.broken
	}
	took := time.Duration(0)
	if d.owner.faulty() && s.chance(d.world.profile.slowDisk) {
		took = s.between(time.Millisecond, 300*time.Millisecond)
	}
	co.sleep(took/2 + 10*time.Microsecond)
	fails := d.owner.faulty() && s.chance(d.world.profile.failingDisk)
	if fails {
		d.broken = fmt.Errorf("%s: %w", what, errDisk)
	}
	if !fails || s.chance(0.5) {
		if d.earlier = append(d.earlier, d.snapshot()); len(d.earlier) > keptStates {
			d.earlier = d.earlier[1:]
		}
		if err := do(); err != nil {
			return err
		}
		if !d.deferring {
			d.unwritten = max(0, d.unwritten-1)
		}
		d.world.checkDisk(d)
	}
	co.sleep(took/2 + 10*time.Microsecond)
	return d.broken
}

// Get implements store.Engine.
func (d *disk) Get(name string, key []byte) ([]byte, bool, error) { return d.engine.Get(name, key) }

// Range implements store.Engine.
func (d *disk) Range(name string, from, to []byte, descending bool) store.Iterator {
	return d.engine.Range(name, from, to, descending)
}

// Apply implements store.Engine.
func (d *disk) Apply(batch *store.Batch) error {
	return d.write("writing", func() error { return d.engine.Apply(batch) })
}

// Defer implements store.Deferrer: it writes at once, but what it has written since is lost with the process.
func (d *disk) Defer(bytes int) {
	if d.deferring = bytes > 0; d.deferring {
		d.unwritten = keptStates
	}
}

// Checkpoint implements store.Engine.
func (d *disk) Checkpoint(changelog string) (store.Checkpoint, bool) {
	return d.engine.Checkpoint(changelog)
}

// Checkpoints implements store.Engine.
func (d *disk) Checkpoints() map[string]store.Checkpoint { return d.engine.Checkpoints() }

// DeleteStore implements store.Engine.
func (d *disk) DeleteStore(name, changelog string) error {
	return d.write("deleting a store", func() error { return d.engine.DeleteStore(name, changelog) })
}

// Size implements store.Engine.
func (d *disk) Size(name string) (int64, error) { return d.engine.Size(name) }

// Close implements store.Engine.
func (d *disk) Close() error { return nil }
